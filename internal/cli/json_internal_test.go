package cli

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/apply/follow/changes"
)

// The contract is what JSON.md says: no field may exist that is not there.
func TestJSONIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("JSON.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	var walk func(typ reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" {
				seen++
				if !strings.Contains(string(doc), "`"+name+"`") {
					t.Errorf("JSON.md does not mention %q of %v", name, typ)
				}
			}
			walk(f.Type)
		}
	}
	for _, v := range []any{txJSON{}, lostJSON{}, hydrateJSON{}, showJSON{}, statusJSON{}, windowJSON{}, pointsJSON{}, verifyJSON{}, versionJSON{}, followJSON{}, changes.Change{}} {
		walk(reflect.TypeOf(v))
	}
	if seen < 80 {
		t.Errorf("only %d fields were looked at", seen)
	}
}
