package rpmdb

import (
	"bytes"
	"cmp"
	"database/sql"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/internal/testenv"
)

// factsFormat makes rpm print, for each package, a line P with everything that
// Package holds, and a line F for each of its files.
const factsFormat = `P\t%{NAME}\t%{VERSION}\t%{RELEASE}\t%{EPOCH}\t%{ARCH}\t%{SOURCERPM}\t%{VENDOR}\t%{LICENSE}\t` +
	`%{MODULARITYLABEL}\t%{FILEDIGESTALGO}\t%{SUMMARY}\n` +
	`[F\t%{FILENAMES}\t%{FILEDIGESTS}\t%{FILEMODES}\t%{FILEFLAGS}\t%{LONGFILESIZES}\n]`

// parseFacts reads what rpm printed with factsFormat.
func parseFacts(t testing.TB, text []byte) []Package {
	t.Helper()
	number := func(s string, absent int64) int64 {
		if s == "(none)" {
			return absent
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var packages []Package
	for line := range strings.Lines(string(text)) {
		field := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		word := func(i int) string {
			if field[i] == "(none)" {
				return ""
			}
			return field[i]
		}
		switch {
		case field[0] == "P" && len(field) == 12:
			packages = append(packages, Package{
				Name: word(1), Version: word(2), Release: word(3), Epoch: int(number(field[4], -1)), Arch: word(5),
				SourceRPM: word(6), Vendor: word(7), License: word(8), Modularity: word(9),
				DigestAlgorithm: int(number(field[10], 1)), Summary: word(11),
			})
		case field[0] == "F" && len(field) == 6:
			if word(1) == "" {
				continue // a package without files
			}
			p := &packages[len(packages)-1]
			p.Files = append(p.Files, File{
				Path: word(1), Digest: word(2), Mode: uint16(number(field[3], 0)),
				Flags: uint32(number(field[4], 0)), Size: number(field[5], 0),
			})
		default:
			t.Fatalf("rpm printed %q", line)
		}
	}
	order(packages)
	return packages
}

// order sorts packages: each kind of database has an order of its own.
func order(packages []Package) {
	slices.SortFunc(packages, func(a, b Package) int {
		return cmp.Or(
			strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version), strings.Compare(a.Release, b.Release),
			strings.Compare(a.Arch, b.Arch), cmp.Compare(len(a.Files), len(b.Files)))
	})
}

// rpmSays returns what rpm itself reads in the database of the given kind
// ("sqlite", "bdb_ro", "ndb").
func rpmSays(t testing.TB, kind, database string) []Package {
	t.Helper()
	dir := filepath.Dir(database)
	rpm := exec.Command("rpm", "--dbpath", dir, "--define", "_db_backend "+kind, "-qa", "--qf", factsFormat)
	rpm.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var complaints bytes.Buffer
	rpm.Stderr = &complaints
	out, err := rpm.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", rpm.Args, err, &complaints)
	}
	return parseFacts(t, out)
}

// weRead returns what Each reads, in order of names.
func weRead(t testing.TB, database string) []Package {
	t.Helper()
	packages, err := readFile(t, database)
	if err != nil {
		t.Fatalf("%s: %v", database, err)
	}
	order(packages)
	return packages
}

func readFile(t testing.TB, database string) ([]Package, error) {
	t.Helper()
	f, err := os.Open(database)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var packages []Package
	err = Each(f, info.Size(), func(p *Package) error {
		packages = append(packages, *p)
		return nil
	})
	return packages, err
}

// kindOf is rpm's name for the database kind that a file name stands for.
func kindOf(t testing.TB, database string) string {
	t.Helper()
	kind, ok := map[string]string{"Packages": "bdb_ro", "Packages.db": "ndb", "rpmdb.sqlite": "sqlite"}[filepath.Base(database)]
	if !ok {
		t.Fatalf("%s: no rpm database has this name", database)
	}
	return kind
}

// rpmReads reports whether the rpm at hand was built with a kind of database:
// Debian's knows no NDB, SUSE's does.
func rpmReads(t testing.TB, kind string) bool {
	t.Helper()
	for _, name := range []string{"Packages", "Packages.db"} {
		if kindOf(t, name) == kind {
			return len(rpmSays(t, kind, place(t, name, fixture(t, name)))) > 0
		}
	}
	return true // SQLite, which the rest of these tests cannot do without
}

// place writes a database where rpm may write beside it.
func place(t testing.TB, name string, database []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, database, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// distributions are databases of real distributions: those that osv-scalibr,
// which we depend on, brings along for its own tests, and any others that the
// list of files PLIMSOLL_RPMDBS names.
func distributions(t testing.TB) []string {
	t.Helper()
	testenv.Need(t, "go")
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/osv-scalibr").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "extractor", "filesystem", "os", "rpm", "testdata")
	databases := []string{
		filepath.Join(dir, "Packages"), filepath.Join(dir, "Packages.db"), filepath.Join(dir, "rpmdb.sqlite"),
	}
	for _, database := range databases {
		if _, err := os.Stat(database); err != nil {
			testenv.Skip(t, "no "+database+" (go mod download)")
		}
	}
	return append(databases, filepath.SplitList(os.Getenv("PLIMSOLL_RPMDBS"))...)
}

// TestDistributions holds us against rpm on databases of real distributions.
func TestDistributions(t *testing.T) {
	testenv.Need(t, "rpm")
	for i, database := range distributions(t) {
		kind := kindOf(t, database)
		t.Run(fmt.Sprint(i, "_", kind), func(t *testing.T) {
			ours := weRead(t, database)
			if !rpmReads(t, kind) {
				t.Logf("this rpm does not read %s: %d packages are not compared", kind, len(ours))
				return
			}
			data, err := os.ReadFile(database)
			if err != nil {
				t.Fatal(err)
			}
			theirs := rpmSays(t, kind, place(t, filepath.Base(database), data))
			if len(theirs) == 0 {
				t.Fatal("rpm reads no packages")
			}
			if diff := gocmp.Diff(theirs, ours); diff != "" {
				t.Errorf("rpm (-) and we (+) differ:\n%.4000s", diff)
			}
			files := 0
			for _, p := range ours {
				files += len(p.Files)
			}
			t.Logf("%s: %d packages, %d files", database, len(ours), files)
		})
	}
}

// run runs a command, and fails with what it printed.
func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// build makes the packages of testdata/tiny.spec.
func build(t testing.TB, files int) (packages []string) {
	t.Helper()
	build := t.TempDir()
	run(t, "rpmbuild", "-bb", "--quiet", "--define", "_topdir "+build, "--define", "_rpmdir "+build,
		"--define", fmt.Sprint("many ", files), filepath.Join("testdata", "tiny.spec"))
	packages, err := filepath.Glob(filepath.Join(build, "*", "*.rpm"))
	if err != nil || len(packages) != 4 {
		t.Fatalf("rpmbuild made %q, %v", packages, err)
	}
	return packages
}

// install has rpm install packages into a new database.
func install(t testing.TB, packages []string, name string) (database string) {
	t.Helper()
	dir := t.TempDir()
	rpm := func(args ...string) {
		t.Helper()
		run(t, "rpm", append([]string{"--dbpath", dir, "--define", "_db_backend " + kindOf(t, name)}, args...)...)
	}
	rpm("--import", filepath.Join("testdata", "key.asc"))
	for _, p := range packages {
		args := []string{"--justdb", "--nodeps", "--ignorearch", "-i", p}
		if strings.HasSuffix(p, ".noarch.rpm") {
			// The header in the database then has more than was signed.
			args = append(args, "--relocate", "/usr/share/tiny=/opt/tiny")
		}
		rpm(args...)
	}
	rpm("--justdb", "-e", "meta")
	return filepath.Join(dir, name)
}

// TestRPM makes packages with rpmbuild, installs them with rpm, and reads the
// databases as rpm does: as rpm left them (SQLite, and NDB where rpm has it),
// and the headers put into Berkeley DB files of all sorts, which today's rpm
// reads but no longer writes.
func TestRPM(t *testing.T) {
	testenv.Need(t, "rpm", "rpmbuild")
	packages := build(t, 1000)
	sqlite := install(t, packages, "rpmdb.sqlite")
	theirs := rpmSays(t, "sqlite", sqlite)
	files := map[string]int{}
	for _, p := range theirs {
		files[p.Name] = len(p.Files)
	}
	want := map[string]int{"gpg-pubkey": 0, "tiny": 11, "tiny-many": 1018, "tiny-noarch": 1}
	if diff := gocmp.Diff(want, files); diff != "" {
		t.Fatalf("rpm lists other packages and numbers of files than were built:\n%s", diff)
	}
	compare := func(t *testing.T, ours []Package) {
		t.Helper()
		if diff := gocmp.Diff(theirs, ours); diff != "" {
			t.Errorf("rpm (-) and we (+) differ:\n%.4000s", diff)
		}
	}
	t.Run("sqlite", func(t *testing.T) { compare(t, weRead(t, sqlite)) })
	if rpmReads(t, "ndb") {
		t.Run("ndb", func(t *testing.T) { compare(t, weRead(t, install(t, packages, "Packages.db"))) })
	} else {
		t.Log("this rpm has no NDB: the one in testdata must do")
	}

	headers := engineReads(t, sqlite)
	for _, pageSize := range []int{512, 4096, 65536} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			t.Run(fmt.Sprint("bdb_", pageSize, "_", order), func(t *testing.T) {
				bdb := makeBDB(t, headers, pageSize, order)
				compare(t, weRead(t, bdb))
				if !rpmReads(t, "bdb_ro") {
					t.Log("this rpm does not read Berkeley DB: it is not asked")
					return
				}
				if diff := gocmp.Diff(theirs, rpmSays(t, "bdb_ro", bdb)); diff != "" {
					t.Errorf("rpm reads this database otherwise (+):\n%.4000s", diff)
				}
			})
		}
	}
}

// engineReads returns the headers of a SQLite database, by the SQLite engine.
func engineReads(t testing.TB, database string) map[int64][]byte {
	t.Helper()
	db, err := sql.Open("sqlite", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT hnum, blob FROM Packages")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	headers := map[int64][]byte{}
	for rows.Next() {
		var number int64
		var blob []byte
		if err := rows.Scan(&number, &blob); err != nil {
			t.Fatal(err)
		}
		headers[number] = blob
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return headers
}

// makeBDB has Berkeley DB write records as rpm kept them: the keys are numbers
// in the machine's order, and number 0 is the counter.
func makeBDB(t testing.TB, records map[int64][]byte, pageSize int, order binary.AppendByteOrder) (path string) {
	t.Helper()
	testenv.Need(t, "db5.3_load")
	lorder := 1234
	if order == binary.BigEndian {
		lorder = 4321
	}
	var dump bytes.Buffer
	fmt.Fprintf(&dump, "VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=%d\ndb_lorder=%d\nHEADER=END\n", pageSize, lorder)
	pair := func(number int64, value []byte) {
		fmt.Fprintf(&dump, " %x\n %x\n", order.AppendUint32(nil, uint32(number)), value)
	}
	pair(0, order.AppendUint32(nil, uint32(len(records))))
	for _, number := range slices.Sorted(maps.Keys(records)) {
		pair(number, records[number])
	}
	dump.WriteString("DATA=END\n")
	path = filepath.Join(t.TempDir(), "Packages")
	load := exec.Command("db5.3_load", path)
	load.Stdin = &dump
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", load.Args, err, out)
	}
	return path
}

// TestBDBPages compares us with Berkeley DB over all that decides where the
// bytes of a record lie: many buckets, long chains, values of all lengths.
func TestBDBPages(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, pageSize := range []int{512, 4096, 65536} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			t.Run(fmt.Sprint(pageSize, order), func(t *testing.T) {
				records := map[int64][]byte{}
				add := func(size int) {
					blob := make([]byte, size)
					for i := range blob {
						blob[i] = byte(random.Uint32())
					}
					records[1+random.Int64N(1<<32-1)] = blob
				}
				for size := range 60 { // around the limits for staying on a page
					add(1 + size)
					add(pageSize/4 - 40 + size)
					add(pageSize - 56 + size)
					add(2*pageSize - 82 + size)
				}
				for range 1000 {
					add(1 + random.IntN(1000))
				}
				data, err := os.ReadFile(makeBDB(t, records, pageSize, order))
				if err != nil {
					t.Fatal(err)
				}
				compareRecords(t, records, allRecords(t, data))
			})
		}
	}
}
