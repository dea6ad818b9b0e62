package plimsoll_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDependencies keeps docs/dependencies.md true: its tables name exactly
// the modules that the project's packages import themselves.
func TestDependencies(t *testing.T) {
	type pkg struct {
		Imports, TestImports, XTestImports []string
		Module                             *struct{ Path string }
		ImportPath                         string
	}
	list := func(args ...string) (all []pkg) {
		out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports,Module"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		for d := json.NewDecoder(bytes.NewReader(out)); ; {
			var p pkg
			if err := d.Decode(&p); errors.Is(err, io.EOF) {
				return all
			} else if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
	}
	imported := map[string]bool{}
	for _, p := range list("./...") {
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if strings.Contains(strings.SplitN(i, "/", 2)[0], ".") && !strings.HasPrefix(i, module) {
				imported[i] = true
			}
		}
	}
	var paths []string
	for i := range imported {
		paths = append(paths, i)
	}
	used := map[string]bool{}
	for _, p := range list(paths...) {
		if p.Module != nil {
			used[p.Module.Path] = true
		}
	}
	text, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) > 3 {
			for _, m := range regexp.MustCompile(`[a-z0-9.-]+\.[a-z]+/[\w./-]+`).FindAllString(cells[1], -1) {
				listed[m] = true
			}
		}
	}
	for m := range used {
		if !listed[m] {
			t.Errorf("%s is used, but has no line in docs/dependencies.md", m)
		}
	}
	for m := range listed {
		if !used[m] {
			t.Errorf("docs/dependencies.md lists %s, which nothing imports", m)
		}
	}
}
