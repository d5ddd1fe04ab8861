package azure_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fake is as much of the service as the store uses, as its reference describes it; make test-azure holds the same
// tests to Azurite. One container, trails; no signatures are checked.
type fake struct {
	mu      sync.Mutex
	objects map[string]object
	blocks  map[string][]byte // staged, by name and id
	version int
}

type object struct {
	data []byte
	etag string
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	container, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/account/"), "/")
	q := r.URL.Query()
	switch {
	case container != "trails":
		refuse(w, http.StatusNotFound, "ContainerNotFound")
	case key == "" && q.Get("comp") == "list":
		f.list(w, q.Get("prefix"), q.Get("startFrom"), q.Get("marker"))
	case r.Method == http.MethodPut:
		f.put(w, r, key)
	default:
		o, ok := f.objects[key]
		if !ok {
			refuse(w, http.StatusNotFound, "BlobNotFound")
			return
		}
		if r.Method == http.MethodDelete {
			delete(f.objects, key)
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("ETag", o.etag)
		if x := r.Header.Get("x-ms-range"); x != "" {
			r.Header.Set("Range", x)
			if from, _, _ := strings.Cut(strings.TrimPrefix(x, "bytes="), "-"); len(o.data) <= atoi(from) {
				refuse(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
				return
			}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.data))
	}
}

func atoi(s string) int { n, _ := strconv.Atoi(s); return n }

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("x-ms-error-code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>no</Message></Error>", code)
}

// pageSize of lists is smaller than the service's 5000.
const pageSize = 100

func (f *fake) list(w http.ResponseWriter, prefix, from, marker string) {
	var b strings.Builder
	n, next := 0, ""
	for _, key := range slices.Sorted(maps.Keys(f.objects)) {
		if !strings.HasPrefix(key, prefix) || key < from || key < marker {
			continue
		}
		if n++; n > pageSize {
			next = key
			break
		}
		fmt.Fprintf(&b, "<Blob><Name>%s</Name><Properties><Content-Length>%d</Content-Length></Properties></Blob>", key, len(f.objects[key].data))
	}
	w.Header().Set("Content-Type", "application/xml")
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><EnumerationResults><Blobs>%s</Blobs><NextMarker>%s</NextMarker></EnumerationResults>", b.String(), next)
}

func (f *fake) put(w http.ResponseWriter, r *http.Request, key string) {
	data, err := io.ReadAll(r.Body)
	if sum := md5.Sum(data); err != nil || r.URL.Query().Get("comp") != "blocklist" && r.Header.Get("Content-MD5") != base64.StdEncoding.EncodeToString(sum[:]) {
		refuse(w, http.StatusBadRequest, "Md5Mismatch")
		return
	}
	switch r.URL.Query().Get("comp") {
	case "block":
		f.blocks[key+" "+r.URL.Query().Get("blockid")] = data
		w.WriteHeader(http.StatusCreated)
		return
	case "blocklist":
		var list struct {
			Latest []string `xml:"Latest"`
		}
		if err := xml.Unmarshal(data, &list); err != nil {
			refuse(w, http.StatusBadRequest, "InvalidXmlDocument")
			return
		}
		data = nil
		for _, id := range list.Latest {
			block, ok := f.blocks[key+" "+id]
			if !ok {
				refuse(w, http.StatusBadRequest, "InvalidBlockList")
				return
			}
			data = append(data, block...)
		}
	}
	now, there := f.objects[key]
	switch {
	case r.Header.Get("If-None-Match") == "*" && there:
		refuse(w, http.StatusConflict, "BlobAlreadyExists")
		return
	case r.Header.Get("If-Match") != "" && r.Header.Get("If-Match") != now.etag:
		refuse(w, http.StatusPreconditionFailed, "ConditionNotMet")
		return
	}
	f.version++
	o := object{data, fmt.Sprintf(`"0x%X"`, f.version)}
	f.objects[key] = o
	maps.DeleteFunc(f.blocks, func(name string, _ []byte) bool { return strings.HasPrefix(name, key+" ") }) // as the service does
	w.Header().Set("ETag", o.etag)
	w.WriteHeader(http.StatusCreated)
}
