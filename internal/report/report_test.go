package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/report"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

var update = flag.Bool("update", false, "write the golden files anew")

func result() *plimsoll.Result {
	b := testenv.BOM()
	r := &plimsoll.Result{BOM: *b, Findings: []plimsoll.Finding{}}
	r.Feeds = []plimsoll.Feed{{Name: "osv", Source: "Debian/all.zip", Imported: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Records: 7}}
	for i, c := range b.Components {
		level := []plimsoll.Level{plimsoll.Critical, plimsoll.High, plimsoll.Medium, plimsoll.Low, plimsoll.Unknown}[i%5]
		r.Findings = append(r.Findings, plimsoll.Finding{
			ID: "CVE-2026-000" + string(rune('1'+i%9)), Advisories: []string{"X-1"}, Level: level, Summary: "what it is \x1b[31m about",
			PURL: c.PURL, Package: c.Name, Installed: c.Version, Fixed: "99", Layer: c.Layer, Paths: c.Paths,
		})
	}
	return r
}

// The forms that people and programs rely on. A change of a golden file is a
// change that they notice; -update writes them anew.
func TestGolden(t *testing.T) {
	r := result()
	for name, write := range map[string]func(io.Writer) error{
		"bom.txt":      func(w io.Writer) error { return report.BOMTable(w, &r.BOM, false) },
		"bom-all.txt":  func(w io.Writer) error { return report.BOMTable(w, &r.BOM, true) },
		"bom.json":     func(w io.Writer) error { return report.BOMJSON(w, &r.BOM, true) },
		"scan.txt":     func(w io.Writer) error { return report.ScanTable(w, r) },
		"scan.json":    func(w io.Writer) error { return report.ScanJSON(w, r, false) },
		"nothing.txt":  func(w io.Writer) error { return report.ScanTable(w, &plimsoll.Result{Feeds: r.Feeds}) },
		"nothing.json": func(w io.Writer) error { return report.ScanJSON(w, &plimsoll.Result{}, false) },
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := write(&got); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("(-golden +got):\n%s", diff)
			}
			if bytes.ContainsRune(got.Bytes(), '\x1b') {
				t.Error("a control character of the image's got through")
			}
			if filepath.Ext(name) == ".json" && !json.Valid(got.Bytes()) {
				t.Error("not valid JSON")
			}
		})
	}
}

// A writer that fails is an error, whichever part of a report it fails at.
func TestWriteErrors(t *testing.T) {
	r := result()
	var whole bytes.Buffer
	if err := report.ScanTable(&whole, r); err != nil {
		t.Fatal(err)
	}
	for room := 0; room < whole.Len(); room += 37 {
		if err := report.ScanTable(&full{room}, r); !errors.Is(err, errFull) {
			t.Fatalf("with room for %d of %d bytes: %v", room, whole.Len(), err)
		}
	}
}

var errFull = errors.New("full")

type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	if len(b) > f.room {
		return 0, errFull
	}
	f.room -= len(b)
	return len(b), nil
}
