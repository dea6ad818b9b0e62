package rpmdb

import (
	"bytes"
	"database/sql"
	"encoding/binary"
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

// badDisk fails to read anything beyond an offset.
type badDisk struct {
	*bytes.Reader
	good int64
}

var errDisk = errors.New("bad sector")

func (d badDisk) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > d.good {
		return 0, errDisk
	}
	return d.Reader.ReadAt(b, off)
}

// TestUnreadable: an error of the reader's comes through, whenever it happens.
func TestUnreadable(t *testing.T) {
	for name, database := range fixtures(t) {
		for good := 0; good < len(database); good += 500 {
			disk := badDisk{bytes.NewReader(database), int64(good)}
			if err := Each(disk, disk.Size(), func(*Package) error { return nil }); !errors.Is(err, errDisk) {
				t.Errorf("%s, good up to %d: %v", name, good, err)
			}
		}
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

// TestHostile: loops, shared pages and impossible numbers end in an error that
// says where, and cost no packages but those they are about.
func TestHostile(t *testing.T) {
	le, be := binary.LittleEndian, binary.BigEndian
	const page = 4096 // of the Berkeley DB
	// bdbPage finds the n-th page of a type.
	bdbPage := func(db []byte, kind byte, n int) []byte {
		for off := page; off < len(db); off += page {
			if db[off+25] == kind {
				if n == 0 {
					return db[off : off+page]
				}
				n--
			}
		}
		t.Fatalf("no page of type %d", kind)
		return nil
	}
	// bdbValue is the first value that lies on overflow pages.
	bdbValue := func(db []byte) []byte {
		for n := range 2 {
			p := bdbPage(db, bdbHash, n)
			for i := range le.Uint16(p[20:]) {
				if v := p[le.Uint16(p[26+2*i:]):]; v[0] == bdbOffPage {
					return v
				}
			}
		}
		t.Fatal("no value on overflow pages")
		return nil
	}
	// The root of the table, which is an interior page, and a leaf below it.
	const small = 1024 // pages of the SQLite database
	sqliteRoot := func(db []byte) []byte {
		for off := small; off < len(db); off += small {
			if db[off] == sqliteInterior {
				return db[off : off+small]
			}
		}
		t.Fatal("no interior page")
		return nil
	}
	sqliteLeafPage := func(db []byte) []byte {
		n := int(be.Uint32(sqliteRoot(db)[8:]))
		return db[(n-1)*small : n*small]
	}
	tests := []struct {
		name, database string
		change         func(db []byte)
		want           string
		packages       int // how many are left at least
	}{
		{"overflow loop", "Packages", func(db []byte) {
			for off := page; off < len(db); off += page {
				if p := db[off:]; p[25] == bdbOverflow && le.Uint32(p[16:]) != 0 {
					le.PutUint32(p[16:], le.Uint32(p[8:]))
				}
			}
		}, "is used twice", 3},
		{"overflow into the first page", "Packages", func(db []byte) { le.PutUint32(bdbValue(db)[4:], 0) }, "its pages end after 0 of", 4},
		{"overflow into nothing", "Packages", func(db []byte) { le.PutUint32(bdbValue(db)[4:], 1e9) }, "beyond the last one", 4},
		{"overflow into a table", "Packages", func(db []byte) {
			le.PutUint32(bdbValue(db)[4:], le.Uint32(bdbPage(db, bdbHash, 1)[8:]))
		}, "", 1},
		{"overflow of no bytes", "Packages", func(db []byte) { le.PutUint16(bdbPage(db, bdbOverflow, 0)[22:], 0) }, "header ", 3},
		{"overflow beyond its page", "Packages", func(db []byte) { le.PutUint16(bdbPage(db, bdbOverflow, 0)[22:], 5000) }, "holds 5026 bytes", 4},
		{"4 GiB header", "Packages", func(db []byte) { le.PutUint32(bdbValue(db)[8:], 1<<32-1) }, "4294967295 bytes; there can be", 4},
		{"duplicate values", "Packages", func(db []byte) { bdbValue(db)[0] = 2 }, "an item of type 2", 4},
		{"bucket loop", "Packages", func(db []byte) {
			p := bdbPage(db, bdbHash, 0)
			le.PutUint32(p[16:], le.Uint32(p[8:]))
		}, "is used twice", 5},
		{"empty bucket page", "Packages", func(db []byte) { clear(bdbPage(db, bdbHash, 0)) }, "the rest of its headers is lost", 1},
		{"4 billion buckets", "Packages", func(db []byte) {
			le.PutUint32(db[32:], 1<<32-1)
			le.PutUint32(db[72:], 1<<32-2)
		}, "the file is cut off", 5},
		{"buckets without pages", "Packages", func(db []byte) { le.PutUint32(db[72:], 100) }, "101 buckets on", 0},
		{"no page size", "Packages", func(db []byte) { le.PutUint32(db[20:], 0) }, "pages of 0 bytes", 0},
		{"old version", "Packages", func(db []byte) { le.PutUint32(db[16:], 5) }, "version 5 ", 0},
		{"encrypted", "Packages", func(db []byte) { db[24] = 1 }, "encryption", 0},

		{"shared blob", "Packages.db", func(db []byte) {
			for off := 48; off < page; off += 16 {
				copy(db[off:off+16], db[32:48])
			}
		}, "its blob overlaps others", 1},
		{"4 billion pages of slots", "Packages.db", func(db []byte) { le.PutUint32(db[12:], 1<<32-1) }, "the slot at offset 4096 is damaged", 5},
		{"no page of slots", "Packages.db", func(db []byte) { le.PutUint32(db[12:], 0) }, "counts no page of slots", 0},
		{"slots wiped out", "Packages.db", func(db []byte) { clear(db[48:page]) }, "and 245 more", 1},
		{"64 GiB blob", "Packages.db", func(db []byte) { le.PutUint32(db[32+12:], 1<<32-1) }, "a blob of 68719476720 bytes; the limit is", 4},
		{"blob beyond the end", "Packages.db", func(db []byte) { le.PutUint32(db[32+8:], 1<<32-1) }, "the file is cut off", 4},
		{"blob without room", "Packages.db", func(db []byte) { le.PutUint32(db[32+12:], 1) }, "a blob of 16 bytes", 4},
		{"another's blob", "Packages.db", func(db []byte) { copy(db[32+8:48], db[48+8:64]) }, "its blob is not at offset", 4},
		{"new version", "Packages.db", func(db []byte) { db[4] = 1 }, "version 1 ", 0},

		{"tree loop", "rpmdb.sqlite", func(db []byte) { copy(sqliteRoot(db)[8:12], []byte{0, 0, 0, 1}) }, "is used twice", 1},
		{"tree into nothing", "rpmdb.sqlite", func(db []byte) { copy(sqliteRoot(db)[8:12], []byte{9, 0, 0, 1}) }, "page 150994945 is not among", 1},
		{"index in place of a table", "rpmdb.sqlite", func(db []byte) { sqliteLeafPage(db)[0] = 10 }, "it is of type 10", 1},
		{"16 EiB row", "rpmdb.sqlite", func(db []byte) {
			p := sqliteLeafPage(db)
			copy(p[be.Uint16(p[8:]):], bytes.Repeat([]byte{0xff}, 9))
		}, "18446744073709551615 bytes; there can be", 1},
		{"overflow loop", "rpmdb.sqlite", func(db []byte) {
			for off := 2 * small; off < len(db); off += small {
				if n := be.Uint32(db[off:]); n == uint32(off/small)+2 && db[off] == 0 {
					be.PutUint32(db[off:], n-1)
				}
			}
		}, "is used twice", 0},
		{"rows in one place", "rpmdb.sqlite", func(db []byte) {
			p := sqliteLeafPage(db)
			be.PutUint16(p[3:], 500)
			for i := range 500 {
				be.PutUint16(p[8+2*i:], uint16(600))
			}
			p[600], p[601], p[602] = 100, 1, 0 // a row of 100 bytes
		}, "and 3 more", 1}, // ten fit in the page, then we stop
		{"no page size", "rpmdb.sqlite", func(db []byte) { db[16], db[17] = 0, 0 }, "pages of 0 bytes", 0},
		{"all of the page reserved", "rpmdb.sqlite", func(db []byte) { db[16], db[17], db[20] = 2, 0, 255 }, "257 of them usable", 0},
	}
	databases := fixtures(t)
	for _, test := range tests {
		t.Run(test.database+" "+test.name, func(t *testing.T) {
			database := bytes.Clone(databases[test.database])
			test.change(database)
			got, err := read(database)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v; want %q", err, test.want)
			}
			if len(got) < test.packages || len(got) > 8 {
				t.Errorf("%d packages are left, not %d; %v", len(got), test.packages, err)
			}
		})
	}
}

// TestGivesUp: a file of nothing but damage must not cost an error for every
// few of its bytes.
func TestGivesUp(t *testing.T) {
	const pages = 100
	database := make([]byte, pages*ndbPage)
	copy(database, fixture(t, "Packages.db")[:32])
	database[12] = pages
	got, err := read(database)
	if err == nil || len(got) != 0 || !strings.HasSuffix(err.Error(), "; and 9992 more; the rest was not read") {
		t.Errorf("%d packages, %v", len(got), err)
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
