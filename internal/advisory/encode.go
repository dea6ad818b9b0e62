package advisory

import (
	"encoding/binary"
	"errors"

	"github.com/plimsoll/plimsoll"
)

// The affected table holds, for one package and one advisory, everything that
// decides a match, in one value: uvarint counts and length-prefixed strings.
//
//	affected  = count entry...
//	entry     = severities ranges versions
//	severities= count (type score)...
//	ranges    = count (type, count (kind version)...)...
//	versions  = count version...
//
// It is a third of the JSON and costs one allocation for all its strings.

const (
	introduced = iota
	fixed
	lastAffected
	limit
)

var errEncoding = errors.New("damaged entry")

func encodeAffected(entries []plimsoll.Affected) []byte {
	var b []byte
	count := func(n int) { b = binary.AppendUvarint(b, uint64(n)) }
	text := func(s string) { count(len(s)); b = append(b, s...) }
	count(len(entries))
	for _, a := range entries {
		count(len(a.Severity))
		for _, s := range a.Severity {
			text(s.Type)
			text(s.Score)
		}
		count(len(a.Ranges))
		for _, r := range a.Ranges {
			text(r.Type)
			count(len(r.Events))
			for _, e := range r.Events {
				switch {
				case e.Introduced != "":
					count(introduced)
					text(e.Introduced)
				case e.Fixed != "":
					count(fixed)
					text(e.Fixed)
				case e.LastAffected != "":
					count(lastAffected)
					text(e.LastAffected)
				default:
					count(limit)
					text(e.Limit)
				}
			}
		}
		count(len(a.Versions))
		for _, v := range a.Versions {
			text(v)
		}
	}
	return b
}

// decodeAffected reads what encodeAffected wrote. Lists never hold more
// elements than bytes are left, so a damaged count cannot ask for memory.
func decodeAffected(data string, ecosystem, pkg string) ([]plimsoll.Affected, error) {
	d := decoder{data: data}
	entries := make([]plimsoll.Affected, d.count())
	for i := range entries {
		a := &entries[i]
		a.Ecosystem, a.Package = ecosystem, pkg
		if n := d.count(); n > 0 {
			a.Severity = make([]plimsoll.Severity, n)
			for j := range a.Severity {
				a.Severity[j] = plimsoll.Severity{Type: d.text(), Score: d.text()}
			}
		}
		if n := d.count(); n > 0 {
			a.Ranges = make([]plimsoll.Range, n)
			for j := range a.Ranges {
				r := &a.Ranges[j]
				r.Type = d.text()
				r.Events = make([]plimsoll.Event, d.count())
				for k := range r.Events {
					kind := d.uvarint()
					switch text := d.text(); kind {
					case introduced:
						r.Events[k].Introduced = text
					case fixed:
						r.Events[k].Fixed = text
					case lastAffected:
						r.Events[k].LastAffected = text
					case limit:
						r.Events[k].Limit = text
					default:
						d.bad = true
					}
				}
			}
		}
		if n := d.count(); n > 0 {
			a.Versions = make([]string, n)
			for j := range a.Versions {
				a.Versions[j] = d.text()
			}
		}
		if d.bad {
			return nil, errEncoding
		}
	}
	if d.bad || d.at != len(d.data) {
		return nil, errEncoding
	}
	return entries, nil
}

type decoder struct {
	data string
	at   int
	bad  bool
}

func (d *decoder) uvarint() uint64 {
	var x uint64
	for shift := uint(0); shift < 63 && d.at < len(d.data); shift += 7 {
		c := d.data[d.at]
		d.at++
		x |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return x
		}
	}
	d.bad = true
	return 0
}

// count of a list's elements, each of which takes at least one byte.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.data)-d.at) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) text() string {
	n := d.count()
	s := d.data[d.at : d.at+n]
	d.at += n
	return s
}
