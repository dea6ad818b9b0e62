package analyze

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/plimsoll/plimsoll"
)

// reportVersion changes with the form or meaning of Report.
const reportVersion = 3

// Report is everything that merging needs to know of one layer. It depends on
// the layer's content and on what Key names, on nothing else.
type Report struct {
	DiffID plimsoll.Digest `json:"diffID,omitempty"`
	// Files in which detectors found something, ordered by path.
	Files []FileReport `json:"files,omitempty"`
	// Links are the layer's symbolic links, target by path.
	Links map[string]string `json:"links,omitempty"`
	// Hides says what the layer covers up in those below it.
	Hides Hides `json:"hides,omitempty"`
	// Gaps of the layer itself rather than of a file in it.
	Gaps []plimsoll.Gap `json:"gaps,omitempty"`
}

// FileReport is what one detector found in one file.
type FileReport struct {
	Path     string         `json:"path"`
	Detector string         `json:"detector"`
	Found    plimsoll.Found `json:"found"`
}

// Encode is the form in which reports are cached.
func (r *Report) Encode() ([]byte, error) { return json.Marshal(r) }

// DecodeReport is the inverse of Encode.
func DecodeReport(b []byte) (*Report, error) {
	r := new(Report)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("layer report: %w", err)
	}
	for _, f := range r.Files {
		for _, c := range f.Found.Components {
			if len(c.Paths) == 0 {
				return nil, fmt.Errorf("layer report: %s: a component without a path", f.Path)
			}
		}
	}
	return r, nil
}

// Hides is the set of names by which a layer covers up names of the layers
// below it, as sorted 64-bit numbers: the first bits of the name's SHA-256 (a
// hash that nobody can aim at another's name) and two flags. A layer of half a
// million files costs 4 MB.
type Hides []uint64

const (
	hidesItself uint64 = 1 << iota // the name itself
	hidesBelow                     // everything below the name
	hideFlags   = hidesItself | hidesBelow
)

func nameHash(path string) uint64 {
	sum := sha256.Sum256([]byte(path))
	return binary.LittleEndian.Uint64(sum[:]) &^ hideFlags
}

func (h Hides) flags(name uint64) uint64 {
	i, found := slices.BinarySearchFunc(h, name, func(entry, name uint64) int { return cmp.Compare(entry&^hideFlags, name) })
	if !found {
		return 0
	}
	return h[i] & hideFlags
}

// hide reports whether a file of a lower layer is covered up. names is
// nameHashes of its path.
func (h Hides) hide(names []uint64) bool {
	last := len(names) - 1
	for i, name := range names {
		flag := hidesBelow
		if i == last {
			flag = hidesItself
		}
		if h.flags(name)&flag != 0 {
			return true
		}
	}
	return false
}

// nameHashes are the hashes of the root, of each directory on the way, and of
// the path itself.
func nameHashes(path string) []uint64 {
	names := make([]uint64, 1, 8)
	names[0] = nameHash("")
	for i := range len(path) {
		if path[i] == '/' {
			names = append(names, nameHash(path[:i]))
		}
	}
	return append(names, nameHash(path))
}

// MarshalText writes the numbers as base64, little endian.
func (h Hides) MarshalText() ([]byte, error) {
	raw := make([]byte, 0, 8*len(h))
	for _, v := range h {
		raw = binary.LittleEndian.AppendUint64(raw, v)
	}
	return base64.StdEncoding.AppendEncode(nil, raw), nil
}

// UnmarshalText is the inverse of MarshalText.
func (h *Hides) UnmarshalText(text []byte) error {
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(raw, text)
	if err != nil {
		return fmt.Errorf("hides: %w", err)
	}
	if n%8 != 0 {
		return fmt.Errorf("hides: %d bytes are no whole number of names", n)
	}
	*h = make(Hides, 0, n/8)
	for raw = raw[:n]; len(raw) > 0; raw = raw[8:] {
		*h = append(*h, binary.LittleEndian.Uint64(raw))
	}
	if !slices.IsSorted(*h) {
		return fmt.Errorf("hides: not sorted")
	}
	return nil
}

// names gathers the names of a layer's entries while it is read: 32 bytes each.
type names struct {
	seen    []nameSeen
	dir     string // the directory whose parents were added last
	dirHash uint64
	mixed   bool
}

type nameSeen struct {
	hash   uint64 // with flags
	parent uint64 // hash of the directory
	at     uint32 // the entry's number
	own    bool   // an entry of the layer's own tree, not a marker
}

// add records the entry with number at and what it does to other names.
func (n *names) add(path string, flags uint64, at int, own bool) {
	// A runtime makes the directories above an entry where they are missing,
	// each in the place of a lower layer's file of that name. Entries of one
	// directory mostly stand together, so comparing with the last is enough
	// to keep repetitions few.
	dir := parentOf(path)
	if dir != n.dir || n.dirHash == 0 {
		for d := dir; d != "" && d != n.dir && !strings.HasPrefix(n.dir, d+"/"); d = parentOf(d) {
			n.seen = append(n.seen, nameSeen{nameHash(d) | hidesItself, nameHash(parentOf(d)), uint32(at), false})
		}
		n.dir, n.dirHash = dir, nameHash(dir)
	}
	n.seen = append(n.seen, nameSeen{nameHash(path) | flags, n.dirHash, uint32(at), own})
}

func parentOf(path string) string { return path[:max(strings.LastIndexByte(path, '/'), 0)] }

// sort prepares for the methods below. Only in a layer where a name is first
// one thing and then another, which tar does not make of a real tree, do
// entries have to be followed up to the root.
func (n *names) sort() {
	slices.SortFunc(n.seen, func(a, b nameSeen) int {
		return cmp.Or(cmp.Compare(a.hash&^hideFlags, b.hash&^hideFlags), cmp.Compare(a.at, b.at))
	})
	for i := 1; i < len(n.seen); i++ {
		a, b := n.seen[i-1], n.seen[i]
		n.mixed = n.mixed || a.hash&^hideFlags == b.hash&^hideFlags && a.hash != b.hash
	}
}

// of gives the records of one name, in the order of the entries.
func (n *names) of(name uint64) []nameSeen {
	first, _ := slices.BinarySearchFunc(n.seen, name, func(s nameSeen, name uint64) int { return cmp.Compare(s.hash&^hideFlags, name) })
	end := first
	for end < len(n.seen) && n.seen[end].hash&^hideFlags == name {
		end++
	}
	return n.seen[first:end]
}

// replaced reports whether a later entry of the same layer took the place of
// what the entry with number at had at name: the same name again, or something
// else than a directory where the way to it needs one.
func (n *names) replaced(name uint64, at uint32) bool {
	flag := hidesItself
	for root := nameHash(""); name != root; {
		records := n.of(name)
		for _, s := range records {
			if s.own && s.hash&flag != 0 && s.at > at {
				return true
			}
		}
		if len(records) == 0 {
			break
		}
		name, flag = records[0].parent, hidesBelow
	}
	return false
}

// hides is the sorted set. What an entry hides counts only if it is still
// there at the layer's end.
func (n *names) hides() Hides {
	var h Hides
	for rest := n.seen; len(rest) > 0; {
		name := rest[0].hash &^ hideFlags
		records := n.of(name)
		rest = rest[len(records):]
		var flags uint64
		for _, s := range records {
			if !s.own || !n.mixed || !n.replaced(name, s.at) {
				flags |= s.hash & hideFlags
			}
		}
		if flags != 0 {
			h = append(h, name|flags)
		}
	}
	return h
}
