package rpmdb

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// fuzzRecords: whatever a file holds, its records together are no greater than
// it, so that reading it takes time and memory in proportion to its size.
func fuzzRecords(t *testing.T, database []byte) {
	records, err := open(bytes.NewReader(database), int64(len(database)))
	if err != nil {
		return
	}
	total := 0
	for rec := range records {
		total += len(rec.blob)
	}
	if total > len(database) {
		t.Errorf("%d bytes of records in %d", total, len(database))
	}
	_, _ = read(database)
}

func FuzzBDB(f *testing.F) {
	seed := fixture(f, "Packages")
	f.Add(seed)
	f.Add(seed[:3*4096])
	f.Fuzz(func(t *testing.T, database []byte) {
		if len(database) > 16 { // always of this kind
			order := binary.ByteOrder(binary.LittleEndian)
			if database[15] != 0 {
				order = binary.BigEndian
			}
			order.PutUint32(database[12:], bdbHashMagic)
		}
		fuzzRecords(t, database)
	})
}

func FuzzNDB(f *testing.F) {
	seed := fixture(f, "Packages.db")
	f.Add(seed)
	f.Fuzz(func(t *testing.T, database []byte) {
		copy(database, ndbMagic)
		fuzzRecords(t, database)
	})
}

func FuzzSQLite(f *testing.F) {
	records := allRecords(f, fixture(f, "Packages.db"))
	f.Add(makeSQLite(f, records, "PRAGMA page_size = 512", ""))
	f.Add(makeSQLite(f, records, "PRAGMA page_size = 4096", ""))
	f.Fuzz(func(t *testing.T, database []byte) {
		copy(database, sqliteMagic)
		fuzzRecords(t, database)
	})
}

func FuzzHeader(f *testing.F) {
	for _, blob := range allRecords(f, fixture(f, "Packages.db")) {
		f.Add(blob)
	}
	f.Add(makeHeader(append(base, array(tagOldFileNames, "/a", "/b"))...))
	f.Fuzz(func(t *testing.T, blob []byte) {
		p, err := parseHeader(blob)
		if p == nil {
			if err == nil {
				t.Error("no package and no error")
			}
			return
		}
		total := 0
		for _, file := range p.Files {
			total += len(file.Path)
		}
		if total > maxPaths*len(blob) {
			t.Errorf("%d bytes of paths from a header of %d", total, len(blob))
		}
		if p.Name == "" || p.Version == "" || err != nil && p.Files != nil {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

func FuzzWALFrames(f *testing.F) {
	var log [32 + 24 + 512]byte
	binary.BigEndian.PutUint32(log[:], 0x377f0683)
	binary.BigEndian.PutUint32(log[8:], 512)
	sum := walSum{order: binary.BigEndian}
	sum.add(log[:24])
	binary.BigEndian.PutUint32(log[24:], sum.s0)
	binary.BigEndian.PutUint32(log[28:], sum.s1)
	f.Add(log[:])
	f.Fuzz(func(t *testing.T, log []byte) {
		n, _ := WALFrames(bytes.NewReader(log), int64(len(log)))
		if 32+n*(24+512) > len(log) && n > 0 {
			t.Errorf("%d frames in %d bytes", n, len(log))
		}
	})
}
