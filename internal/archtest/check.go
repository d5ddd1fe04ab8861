package archtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// File is a Go source file and what it imports.
type File struct {
	Name    string   // for messages: path within the module
	Package string   // directory within the module, "." for its root
	Test    bool     // a _test.go file
	Imports []string // import paths
}

// Violation is an import that the plan does not allow.
type Violation struct {
	File   string
	Import string
	Why    string // the reason for the ban, and what to do
}

func (v Violation) String() string {
	return fmt.Sprintf("%s imports %s: %s", v.File, v.Import, v.Why)
}

// Check compares files with the plan. The result is sorted; none means that
// the building is as planned.
func Check(module string, files []File) []Violation {
	var found []Violation
	homeless := map[string]bool{}
	alone := map[string][]string{} // "room guest" to the files that import it
	for _, f := range files {
		room, ok := roomOf(f.Package)
		if !ok {
			if !homeless[f.Package] {
				homeless[f.Package] = true
				found = append(found, Violation{
					f.Name, "", fmt.Sprintf(
						"package %s has no room: say in internal/archtest/rules.go where it stands and what it may import", f.Package),
				})
			}
			continue
		}
		for _, path := range f.Imports {
			var why string
			switch rel, ours := strings.CutPrefix(path, module+"/"); {
			case ours:
				why = ourImport(room, f, rel)
			case strings.Contains(strings.Split(path, "/")[0], "."):
				why = guestImport(f, path, alone)
			default:
				why = stdImport(f, path)
			}
			if why != "" {
				found = append(found, Violation{f.Name, path, why})
			}
		}
	}
	slices.SortFunc(found, func(a, b Violation) int {
		return cmp.Or(strings.Compare(a.File, b.File), strings.Compare(a.Import, b.Import))
	})
	return found
}

// under says that the package is one of the patterns: a path, or a path and
// "/..." for all that is below it.
func under(pkg string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		dir, deep := strings.CutSuffix(p, "/...")
		return pkg == p || deep && strings.HasPrefix(pkg, dir+"/")
	})
}

// roomOf finds the room of a package: the most particular one.
func roomOf(pkg string) (room, bool) {
	best := room{}
	for _, r := range rooms {
		if under(pkg, []string{r.path}) && len(r.path) > len(best.path) {
			best = r
		}
	}
	return best, best.path != ""
}

// ourImport says why a file may not import the package rel of our module.
func ourImport(r room, f File, rel string) string {
	if rel == f.Package || under(rel, r.may) {
		return ""
	}
	if f.Test && !r.leaf && !under(rel, top) {
		return ""
	}
	for _, b := range bans {
		if under(f.Package, b.from) && under(rel, b.to) {
			return b.why
		}
	}
	if under(rel, top) {
		return "arrows point down: only the command line knows everyone, and nobody knows it"
	}
	return fmt.Sprintf("%s may import %s of ours: %s", r.path, cmp.Or(strings.Join(r.may, ", "), "nothing"), r.why)
}

// guestImport says why a file may not import a package of another module.
func guestImport(f File, path string, alone map[string][]string) string {
	for _, g := range guests {
		if !under(path, []string{g.module, g.module + "/..."}) {
			continue
		}
		if under(f.Package, g.rooms) || f.Test && under(f.Package, g.tests) {
			return ""
		}
		if !f.Test && under(f.Package, g.oneFile) {
			key := f.Package + " " + g.module
			if !slices.Contains(alone[key], f.Name) {
				alone[key] = append(alone[key], f.Name)
			}
			if len(alone[key]) == 1 {
				return ""
			}
			return fmt.Sprintf("one file of the package may, and %s does already: %s", alone[key][0], g.why)
		}
		return g.why
	}
	return "nobody has let this module in: say in internal/archtest/rules.go which room needs it, and why"
}

// stdImport says why a file may not import a package of the standard library.
func stdImport(f File, path string) string {
	for _, b := range stdBans {
		if f.Test && !b.tests {
			continue
		}
		if under(path, b.to) && under(f.Package, b.from) && !under(f.Package, b.except) {
			return b.why
		}
	}
	return ""
}
