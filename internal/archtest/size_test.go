package archtest_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Limits of what one reads at a sitting. Tests may be long: a table is.
const (
	maxFileLines = 500
	maxFuncLines = 70
)

func TestFilesAndFunctionsAreShort(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != root && (base[0] == '.' || base == "bin" || base == "dist" || base == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		measure(t, strings.TrimPrefix(filepath.ToSlash(name), "../../"), src)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func measure(t *testing.T, name string, src []byte) {
	if n := bytes.Count(src, []byte("\n")); n > maxFileLines {
		t.Errorf("%s has %d lines, more than %d: which two things is it about?", name, n, maxFileLines)
	}
	if strings.HasSuffix(name, "_test.go") {
		return
	}
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, src, 0)
	if err != nil {
		t.Error(err)
		return
	}
	for _, d := range tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		if n := fset.Position(f.Body.Rbrace).Line - fset.Position(f.Pos()).Line - 1; n > maxFuncLines {
			t.Errorf("%s: func %s has %d lines, more than %d", name, f.Name.Name, n, maxFuncLines)
		}
	}
}
