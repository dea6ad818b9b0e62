package rpmdb

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
)

// TestWALFrames compares us with what the SQLite engine says of its own logs.
func TestWALFrames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpmdb.sqlite")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	frames := func() (log []byte, n int) {
		t.Helper()
		log, err := os.ReadFile(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		n, err = WALFrames(bytes.NewReader(log), int64(len(log)))
		if err != nil {
			t.Fatal(err)
		}
		return log, n
	}
	// checkpoint moves the frames into the database and says how many there were.
	checkpoint := func(mode string) (n int) {
		t.Helper()
		var busy, moved int
		if err := db.QueryRow("PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &n, &moved); err != nil || busy != 0 || moved != n {
			t.Fatalf("checkpoint: %v, busy %d, %d of %d frames", err, busy, moved, n)
		}
		return n
	}

	exec("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 2")
	exec("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
	checkpoint("TRUNCATE")
	if _, n := frames(); n != 0 {
		t.Errorf("an empty log: %d frames", n)
	}

	for range 3 {
		exec("INSERT INTO Packages (blob) VALUES (randomblob(50000))")
	}
	log, n := frames()
	if got, err := readFile(t, path); err != nil || len(got) != 0 {
		t.Errorf("the database itself: %d packages, %v", len(got), err)
	}
	if log[3]&1 == 0 {
		t.Logf("this log's checksums are little endian")
	}
	if want := checkpoint("PASSIVE"); n != want || n < 36 {
		t.Errorf("three commits: %d frames; the engine says %d", n, want)
	}
	for _, cut := range []int{1, 4096 + 24} {
		fewer, err := WALFrames(bytes.NewReader(log), int64(len(log)-cut))
		if err != nil || fewer >= n || fewer == 0 {
			t.Errorf("%d bytes less: %d of %d frames, %v", cut, fewer, n, err)
		}
	}
	for _, damaged := range []int{0, 10, 25, 32 + 10, 32 + 24 + 100} {
		log[damaged] ^= 1
		fewer, err := WALFrames(bytes.NewReader(log), int64(len(log)))
		if (err != nil) != (damaged < 32) || fewer != 0 {
			t.Errorf("byte %d is damaged: %d frames, %v", damaged, fewer, err)
		}
		log[damaged] ^= 1
	}

	// The log begins anew over the old frames.
	checkpoint("RESTART")
	exec("INSERT INTO Packages (blob) VALUES (x'00')")
	again, n := frames()
	if len(again) != len(log) {
		t.Errorf("the log has %d bytes, after %d: no old frames are left", len(again), len(log))
	}
	exec("BEGIN")
	exec("INSERT INTO Packages (blob) VALUES (randomblob(500000))") // spills
	if open, more := frames(); more != n || len(open) <= len(log) {
		t.Errorf("a transaction is open: %d frames, after %d; %d bytes", more, n, len(open))
	}
	exec("ROLLBACK")
	if want := checkpoint("PASSIVE"); n != want || n == 0 {
		t.Errorf("a log begun anew: %d frames; the engine says %d", n, want)
	}
}
