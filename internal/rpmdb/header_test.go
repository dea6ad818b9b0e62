package rpmdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// tag is one entry of a header that a test makes.
type tag struct {
	tag, kind, count uint32
	data             []byte
}

func text(number uint32, s string) tag {
	return tag{number, typeString, 1, []byte(s + "\x00")}
}

func array(number uint32, s ...string) tag {
	return tag{number, typeStringArray, uint32(len(s)), []byte(strings.Join(s, "\x00") + "\x00")}
}

func int32s(number uint32, v ...uint32) tag {
	e := tag{tag: number, kind: typeInt32, count: uint32(len(v))}
	for _, n := range v {
		e.data = binary.BigEndian.AppendUint32(e.data, n)
	}
	return e
}

// makeHeader puts entries together as they lie in a database.
func makeHeader(entries ...tag) []byte {
	var index, data []byte
	for _, e := range entries {
		for e.kind == typeInt64 && len(data)%8 != 0 || e.kind == typeInt32 && len(data)%4 != 0 {
			data = append(data, 0)
		}
		for _, n := range []uint32{e.tag, e.kind, uint32(len(data)), e.count} {
			index = binary.BigEndian.AppendUint32(index, n)
		}
		data = append(data, e.data...)
	}
	blob := binary.BigEndian.AppendUint32(nil, uint32(len(entries)))
	blob = binary.BigEndian.AppendUint32(blob, uint32(len(data)))
	return slices.Concat(blob, index, data)
}

var base = []tag{text(tagName, "a"), text(tagVersion, "1"), text(tagRelease, "2")}

// TestHeader: what no packages that rpmbuild makes today have in them.
func TestHeader(t *testing.T) {
	long := binary.BigEndian.AppendUint64(nil, 5<<32)
	tests := []struct {
		name string
		tags []tag
		want Package
	}{
		{"rpm 3 wrote whole paths", []tag{array(tagOldFileNames, "/bin/sh", "/etc/rc"), array(tagFileDigests, "d41d", "")},
			Package{Files: []File{{Path: "/bin/sh", Digest: "d41d"}, {Path: "/etc/rc"}}}},
		{"new names come before old ones",
			[]tag{array(tagOldFileNames, "/old"), array(tagBaseNames, "new"), array(tagDirNames, "/"), int32s(tagDirIndexes, 0)},
			Package{Files: []File{{Path: "/new"}}}},
		{"a file of 20 GiB",
			[]tag{array(tagBaseNames, "big"), array(tagDirNames, "/"), int32s(tagDirIndexes, 0), {tagLongSizes, typeInt64, 1, long}},
			Package{Files: []File{{Path: "/big", Size: 5 << 32}}}},
		{"what installing changed is appended", // here a relocation
			[]tag{array(tagBaseNames, "x"), array(tagDirNames, "/usr/"), int32s(tagDirIndexes, 0), array(tagDirNames, "/opt/")},
			Package{Files: []File{{Path: "/opt/x"}}}},
		{"a summary in many languages", []tag{{tagSummary, typeI18NString, 2, []byte("hello\x00hallo\x00")}},
			Package{Summary: "hello"}},
		{"no value is written as a word", []tag{text(tagSourceRPM, "(none)")}, Package{}},
		{"the greatest epoch", []tag{int32s(tagEpoch, 1<<31-1)}, Package{Epoch: 1<<31 - 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := test.want
			want.Name, want.Version, want.Release, want.DigestAlgorithm = "a", "1", "2", 1
			if want.Epoch == 0 {
				want.Epoch = -1
			}
			got, err := parseHeader(makeHeader(append(slices.Clone(base), test.tags...)...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(&want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestBadHeader: each limit and each contradiction is an error that says what
// is wrong. A package that is known but for its files is not lost.
func TestBadHeader(t *testing.T) {
	with := func(tags ...tag) []byte { return makeHeader(append(slices.Clone(base), tags...)...) }
	names, dirs, indexes := array(tagBaseNames, "x", "y"), array(tagDirNames, "/"), int32s(tagDirIndexes, 0, 0)
	bomb := []tag{
		array(tagBaseNames, slices.Repeat([]string{"x"}, 10_000)...),
		array(tagDirNames, strings.Repeat("/d", 10_000)),
		int32s(tagDirIndexes, make([]uint32, 10_000)...),
	}
	tests := []struct {
		name     string
		blob     []byte
		want     string
		yieldsIt bool
	}{
		{"nothing", nil, "0 bytes are no header", false},
		{"wrong lengths", append(with(), 0), "make ", false},
		{"impossible lengths", bytes.Repeat([]byte{0xff}, 64), "make ", false},
		{"too long", make([]byte, maxHeader+1), "the limit is", false},
		{"no name", makeHeader(text(tagVersion, "1")), "it has no name", false},
		{"no version", makeHeader(text(tagName, "a")), `package "a": it has no version`, false},
		{"a name that is a number", makeHeader(int32s(tagName, 1)), "tag 1000: type 4 is no string", false},
		{"a string without end", makeHeader(tag{tagName, typeString, 1, []byte("abc")}), "does not end", false},
		{"a licence of a megabyte", with(text(tagLicense, strings.Repeat("x", 1<<20))), "does not end within 65536 bytes", false},
		{"an offset beyond the data", func() []byte {
			blob := with()
			blob[8+8] = 0x7f
			return blob
		}(), "offset 2130706432", false},
		{"no values", makeHeader(tag{tagName, typeString, 0, nil}), "0 values", false},
		{"names without directories", with(names), `package "a": its list of files: tag 1116: 0 values for 2 files`, true},
		{"a directory that is not there", with(names, dirs, int32s(tagDirIndexes, 0, 1)), "directory 1 of 1", true},
		{"more names than there are", with(dirs, indexes, tag{tagBaseNames, typeStringArray, 9, []byte("x\x00")}), "ends within string 2 of 9", true},
		{"more numbers than there are", with(names, dirs, tag{tagDirIndexes, typeInt32, 1 << 30, indexes.data}), "ends within its 1073741824", true},
		{"other kinds of names", with(text(tagBaseNames, "x")), "no array of strings", true},
		{"other kinds of numbers", with(names, dirs, tag{tagDirIndexes, typeInt16, 2, indexes.data}), "type 3; it should be 4", true},
		{"too few digests", with(names, dirs, indexes, array(tagFileDigests, "d41d")), "tag 1035: 1 values for 2 files", true},
		{"a negative size", with(names, dirs, indexes, tag{tagLongSizes, typeInt64, 2, bytes.Repeat([]byte{0xff}, 16)}), "a size of", true},
		{"too many files", with(array(tagBaseNames, make([]string, maxFiles+1)...)), fmt.Sprintf("%d values; the limit is %d", maxFiles+1, maxFiles), true},
		{"paths that swell", with(bomb...), "the paths of 10000 files are longer", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := parseHeader(test.blob)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v; want %q", err, test.want)
			}
			if (p != nil) != test.yieldsIt {
				t.Errorf("package: %v", p)
			}
			if p != nil && (p.Name != "a" || p.Version != "1" || p.Files != nil) {
				t.Errorf("package: %v", p)
			}
		})
	}
}
