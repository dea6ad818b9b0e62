package plimsoll_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/plimsoll/plimsoll"

// TestFloors keeps docs/architecture.md true: every package is in its table,
// every row is a package, and imports go down only.
func TestFloors(t *testing.T) {
	floors := readFloors(t)
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		floor, listed := floors[dir]
		if !listed {
			t.Errorf("%s: package %s is not in the table of docs/architecture.md", path, dir)
			return nil
		}
		seen[dir] = true
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			isTest := strings.HasSuffix(path, "_test.go")
			if dir == "." && !isTest && strings.Contains(strings.SplitN(name, "/", 2)[0], ".") {
				t.Errorf("%s: the root package imports %s; it takes the standard library only", path, name)
			}
			if name != module && !strings.HasPrefix(name, module+"/") {
				continue
			}
			imported := strings.TrimPrefix(strings.TrimPrefix(name, module), "/")
			if imported == "" {
				imported = "."
			}
			if imported == "internal/testenv" && !isTest {
				t.Errorf("%s: only tests may import %s", path, imported)
			}
			if isTest || imported == dir {
				continue
			}
			if low, ok := floors[imported]; ok && low >= floor {
				t.Errorf("%s: %s (floor %d) imports %s (floor %d); imports go down only", path, dir, floor, imported, low)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range floors {
		if !seen[dir] {
			t.Errorf("docs/architecture.md lists %s, which has no Go file", dir)
		}
	}
}

var floorRow = regexp.MustCompile("^\\| (\\d+) \\| `([^`]+)` \\|")

func readFloors(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	floors := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if m := floorRow.FindStringSubmatch(line); m != nil {
			floor, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			floors[m[2]] = floor
		}
	}
	if len(floors) < 5 {
		t.Fatalf("docs/architecture.md: found %d rows in the table of floors", len(floors))
	}
	return floors
}
