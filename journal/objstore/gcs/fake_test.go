package gcs_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fake is as much of the service as the store uses, as its reference describes it; make test-gcs holds the same tests
// to another's. One bucket, trails; nobody is asked who they are.
type fake struct {
	mu         sync.Mutex
	objects    map[string]object
	generation int64
}

type object struct {
	data       []byte
	generation int64
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path, upload := strings.CutPrefix(r.URL.EscapedPath(), "/upload")
	rest, ok := strings.CutPrefix(path, "/storage/v1/b/trails/o")
	if !ok {
		refuse(w, http.StatusNotFound, "notFound", "The specified bucket does not exist.")
		return
	}
	key, _ := url.PathUnescape(strings.TrimPrefix(rest, "/"))
	switch {
	case upload:
		f.upload(w, r)
	case key == "":
		f.list(w, r.URL.Query())
	default:
		f.object(w, r, key)
	}
}

func refuse(w http.ResponseWriter, status int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"code": status, "message": message, "errors": []any{map[string]any{"reason": reason, "message": message}},
	}})
}

func (f *fake) object(w http.ResponseWriter, r *http.Request, key string) {
	o, ok := f.objects[key]
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "notFound", "No such object: trails/"+key)
	case r.Method == http.MethodDelete:
		delete(f.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Query().Get("alt") == "media":
		w.Header().Set("x-goog-generation", strconv.FormatInt(o.generation, 10))
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.data))
	default:
		_ = json.NewEncoder(w).Encode(o.resource(key))
	}
}

func (o object) resource(key string) map[string]string {
	return map[string]string{"name": key, "size": strconv.Itoa(len(o.data)), "generation": strconv.FormatInt(o.generation, 10)}
}

func (f *fake) upload(w http.ResponseWriter, r *http.Request) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid", err.Error())
		return
	}
	parts := multipart.NewReader(r.Body, params["boundary"])
	var read [2][]byte
	for i := range read {
		p, err := parts.NextPart()
		if err == nil {
			read[i], err = io.ReadAll(p)
		}
		if err != nil {
			refuse(w, http.StatusBadRequest, "invalid", err.Error())
			return
		}
	}
	var meta struct {
		Name   string `json:"name"`
		CRC32C string `json:"crc32c"`
	}
	sum := crc32.Checksum(read[1], crc32.MakeTable(crc32.Castagnoli))
	if json.Unmarshal(read[0], &meta) != nil || meta.CRC32C != base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)) {
		refuse(w, http.StatusBadRequest, "invalid", "Provided CRC32C does not match")
		return
	}
	if want := r.URL.Query().Get("ifGenerationMatch"); want != "" && want != strconv.FormatInt(f.objects[meta.Name].generation, 10) {
		refuse(w, http.StatusPreconditionFailed, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
		return
	}
	f.generation++
	o := object{read[1], f.generation}
	f.objects[meta.Name] = o
	_ = json.NewEncoder(w).Encode(o.resource(meta.Name))
}

// pageSize of lists is smaller than the service's 1000.
const pageSize = 100

func (f *fake) list(w http.ResponseWriter, q url.Values) {
	items, next := []any{}, ""
	for _, key := range slices.Sorted(maps.Keys(f.objects)) {
		if !strings.HasPrefix(key, q.Get("prefix")) || key < q.Get("startOffset") || key < q.Get("pageToken") {
			continue
		}
		if len(items) == pageSize {
			next = key
			break
		}
		items = append(items, f.objects[key].resource(key))
	}
	data, err := json.Marshal(map[string]any{"items": items, "nextPageToken": next})
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(w, "%s", data)
}
