package rpmdb

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"
)

// read returns what Each yields and its error.
func read(database []byte) ([]Package, error) {
	var packages []Package
	err := Each(bytes.NewReader(database), int64(len(database)), func(p *Package) error {
		packages = append(packages, *p)
		return nil
	})
	return packages, err
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// allRecords returns every record by number, and fails on damage.
func allRecords(t testing.TB, database []byte) map[int64][]byte {
	t.Helper()
	records, err := open(bytes.NewReader(database), int64(len(database)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[int64][]byte{}
	for rec, err := range records {
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := all[rec.number]; twice {
			t.Fatalf("record %d comes twice", rec.number)
		}
		all[rec.number] = bytes.Clone(rec.blob)
	}
	return all
}

// compareRecords is for blobs too great to print.
func compareRecords(t testing.TB, want, got map[int64][]byte) {
	t.Helper()
	for number, blob := range want {
		if !bytes.Equal(blob, got[number]) {
			t.Errorf("record %d has %d bytes, of which we read %d, or others", number, len(blob), len(got[number]))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d records, of which we read %d", len(want), len(got))
	}
}

// makeSQLite has the SQLite engine write records into a database of rpm's
// schema. The statements run before the first and after the last insertion.
func makeSQLite(t testing.TB, records map[int64][]byte, before, after string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rpmdb.sqlite")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // pragmas belong to a connection
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatalf("%.200s: %v", query, err)
		}
	}
	exec(before)
	exec("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
	exec("BEGIN")
	for _, number := range slices.Sorted(maps.Keys(records)) {
		blob := records[number]
		exec("INSERT INTO Packages VALUES (?, ?)", number, blob)
	}
	exec("COMMIT")
	exec(after)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// fixtures are the same five packages in each kind of database.
func fixtures(t testing.TB) map[string][]byte {
	t.Helper()
	ndb := fixture(t, "Packages.db")
	return map[string][]byte{
		"Packages":     fixture(t, "Packages"),
		"Packages.db":  ndb,
		"rpmdb.sqlite": makeSQLite(t, allRecords(t, ndb), "PRAGMA page_size = 1024", ""),
	}
}

// TestFixtures needs no tools: what rpm said of these databases is in
// testdata/facts.txt.
func TestFixtures(t *testing.T) {
	want := parseFacts(t, fixture(t, "facts.txt"))
	if len(want) != 5 {
		t.Fatalf("facts.txt is about %d packages", len(want))
	}
	for name, database := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			got, err := read(database)
			if err != nil {
				t.Fatal(err)
			}
			order(got)
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("rpm (-) and we (+) differ:\n%s", diff)
			}
		})
	}
}

func TestErrorOfYieldEndsReading(t *testing.T) {
	stop := errors.New("enough")
	for name, database := range fixtures(t) {
		n := 0
		err := Each(bytes.NewReader(database), int64(len(database)), func(*Package) error {
			n++
			return stop
		})
		if err != stop || n != 1 {
			t.Errorf("%s: %v after %d calls, not %v after 1", name, err, n, stop)
		}
	}
}

// TestTruncated cuts the databases off everywhere. Whatever is missing, Each
// must say so: a database that was read in part is never a whole one.
func TestTruncated(t *testing.T) {
	for name, database := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			most := 0
			for size := 0; size < len(database); size += 61 {
				got, err := read(database[:size])
				if err == nil && len(got) < 5 {
					t.Errorf("cut off at %d of %d: %d packages and no error", size, len(database), len(got))
				}
				if err != nil && strings.Contains(err.Error(), "\n") {
					t.Errorf("cut off at %d: an error of several lines: %q", size, err)
				}
				if err != nil {
					most = max(most, len(got))
				}
			}
			if most == 0 {
				t.Error("no package was ever read from a damaged database")
			}
		})
	}
}

// TestFlipped damages single bytes. NDB has checksums and Berkeley DB
// keeps counts, so no package may get lost in silence. SQLite has neither:
// there it is enough to survive.
func TestFlipped(t *testing.T) {
	for name, database := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			for i := 0; i < len(database); i += 11 { // one by one takes a minute, and finds no more
				for _, flip := range []byte{0xff, 0x01, database[i]} {
					if flip == 0 {
						continue
					}
					database[i] ^= flip
					got, err := read(database)
					database[i] ^= flip
					if name != "rpmdb.sqlite" && err == nil && len(got) != 5 {
						t.Errorf("byte %d xor %#x: %d packages and no error", i, flip, len(got))
					}
					if len(got) > 5 {
						t.Errorf("byte %d xor %#x: %d packages", i, flip, len(got))
					}
				}
			}
		})
	}
}

// TestDamagedRecord damages the header of one package. The error must name its
// record, and the other four must be there.
func TestDamagedRecord(t *testing.T) {
	for name, database := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			want, err := read(database)
			if err != nil {
				t.Fatal(err)
			}
			// The number of index entries, of the package "meta".
			damaged := bytes.Clone(database)
			header := allRecords(t, database)[7]
			wrong := bytes.Clone(header[:64])
			wrong[3]++
			damaged = bytes.ReplaceAll(damaged, header[:64], wrong)
			got, err := read(damaged)
			if err == nil || !strings.Contains(err.Error(), "header 7: ") {
				t.Errorf("error %v does not name header 7", err)
			}
			var left []Package
			for _, p := range want {
				if p.Name != "meta" {
					left = append(left, p)
				}
			}
			if diff := gocmp.Diff(left, got); diff != "" {
				t.Errorf("the other packages:\n%s", diff)
			}
		})
	}
}

// TestNDBChecksum: rpm reads a blob whose checksum is wrong, so the container
// has the package; but we say that something is amiss.
func TestNDBChecksum(t *testing.T) {
	database := fixture(t, "Packages.db")
	at := bytes.Index(database, []byte("No files at all"))
	database[at] = 'n'
	got, err := read(database)
	if err == nil || !strings.Contains(err.Error(), "header 7: the checksum is") {
		t.Errorf("error: %v", err)
	}
	found := false
	for _, p := range got {
		found = found || p.Summary == "no files at all"
	}
	if !found || len(got) != 5 {
		t.Errorf("the package is not among %d", len(got))
	}
}

func TestNoDatabase(t *testing.T) {
	page := make([]byte, 4096)
	tree := bytes.Clone(page)
	copy(tree[12:], "\x62\x31\x05\x00")
	tests := []struct {
		name     string
		database []byte
		want     string
	}{
		{"empty", nil, "the file is empty"},
		{"short", []byte("RpmP"), "4 bytes are no rpm database"},
		{"zeros", page, "neither"},
		{"text", bytes.Repeat([]byte("text "), 100), `it begins with "text text`},
		{"Berkeley DB b-tree", tree, "not of the hash kind"},
		{"other SQLite", makeSQLite(t, nil, "", "DROP TABLE Packages"), "without rpm's table Packages"},
		{"UTF-16 SQLite", makeSQLite(t, nil, "PRAGMA encoding = 'UTF-16le'", ""), "text encoding 2"},
	}
	for _, test := range tests {
		got, err := read(test.database)
		if err == nil || !strings.Contains(err.Error(), test.want) || len(got) != 0 {
			t.Errorf("%s: %d packages, error %v; want %q", test.name, len(got), err, test.want)
		}
	}
}

// TestSQLitePages compares us with the engine over all that decides where the
// bytes of a row lie: sizes of pages and rows, deep trees, deleted rows.
func TestSQLitePages(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, pageSize := range []int{512, 1024, 4096, 65536} {
		t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
			records := map[int64][]byte{}
			add := func(size int) {
				blob := make([]byte, size)
				for i := range blob {
					blob[i] = byte(random.Uint32())
				}
				records[random.Int64N(1<<40)] = blob
			}
			for size := range 40 { // around the limits for staying on a page
				add(size)
				add(pageSize - 50 + size)
				add((pageSize-12)*32/255 - 40 + size)
				add(pageSize*2 - 50 + size)
			}
			for range 300 {
				add(random.IntN(5 * pageSize))
			}
			database := makeSQLite(t, records, fmt.Sprintf("PRAGMA page_size = %d; PRAGMA auto_vacuum = 1", pageSize),
				"DELETE FROM Packages WHERE hnum % 3 = 0")
			for number := range records {
				if number%3 == 0 {
					delete(records, number)
				}
			}
			compareRecords(t, records, allRecords(t, database))
		})
	}
}

// TestSQLiteManyTables: rpm's indexes are tables of the same file, and the
// schema then takes pages of its own.
func TestSQLiteManyTables(t *testing.T) {
	var tables strings.Builder
	for i := range 100 {
		fmt.Fprintf(&tables, "CREATE TABLE t%d (key '%s'); CREATE INDEX i%d ON t%d (key);", i, strings.Repeat("x", i*7), i, i)
	}
	records := map[int64][]byte{1: []byte("one"), 1 << 50: []byte("two")}
	database := makeSQLite(t, records, "PRAGMA page_size = 512; "+tables.String(), "VACUUM")
	compareRecords(t, records, allRecords(t, database))
}
