package format

import (
	_ "embed"
	"strings"
	"sync"
)

// The identifiers of the SPDX licence list (spdx.org/licenses), deprecated
// ones included; read from the npm package spdx-license-ids 3.0.24 (CC0-1.0).
// They are apart by age because the list is part of CycloneDX's schema:
// validators refuse a licence "id" that their copy of the list does not have,
// and copies of version 3.17 are still in use.
//
//go:embed licenses.txt
var licenses317 string

//go:embed licenses_newer.txt
var licensesNewer string

// The list of licence exceptions, for the right side of WITH; identifiers as in
// the npm package spdx-exceptions 2.5.0.
//
//go:embed exceptions.txt
var exceptions string

var lists = sync.OnceValue(func() (l struct{ licenses, newer, exceptions map[string]bool }) {
	set := func(text string) map[string]bool {
		m := map[string]bool{}
		for _, id := range strings.Fields(text) {
			m[id] = true
		}
		return m
	}
	l.licenses, l.newer, l.exceptions = set(licenses317), set(licensesNewer), set(exceptions)
	return l
})

// IsLicenseID reports whether s is an identifier of the SPDX licence list that
// every validator of CycloneDX 1.6 knows (version 3.17 of the list).
func IsLicenseID(s string) bool { return lists().licenses[s] }

// License is what ParseLicense tells about an SPDX licence expression.
type License struct {
	// Compound: more than one identifier.
	Compound bool
	// Refs are the LicenseRef- identifiers in it, whose text a document has to
	// give.
	Refs []string
}

// ParseLicense checks that s is an SPDX licence expression (SPDX 2.3, annex
// D), with identifiers of the licence list, exact to the letter, or of the
// form LicenseRef-. References into other documents (DocumentRef-) are not
// taken: there is no such document.
func ParseLicense(s string) (License, bool) {
	p := expression{rest: s}
	p.next()
	ok := p.alternatives(0) && p.token == ""
	return License{Compound: p.operands > 1, Refs: p.refs}, ok
}

type expression struct {
	rest, token string
	refs        []string
	operands    int
}

// next cuts the next token from rest; "" at the end.
func (p *expression) next() {
	p.rest = strings.TrimLeft(p.rest, " ")
	end := strings.IndexAny(p.rest, " ()")
	switch {
	case end < 0:
		end = len(p.rest)
	case end == 0:
		end = 1
	}
	p.token, p.rest = p.rest[:end], p.rest[end:]
}

// alternatives reads terms joined by OR and AND. Which of the two binds
// tighter makes no difference to whether the expression is well formed.
func (p *expression) alternatives(depth int) bool {
	// Deeper than any licence that a person wrote.
	if depth > 32 || !p.term(depth) {
		return false
	}
	for p.token == "OR" || p.token == "AND" {
		p.next()
		if !p.term(depth) {
			return false
		}
	}
	return true
}

func (p *expression) term(depth int) bool {
	if p.token == "(" {
		p.next()
		if !p.alternatives(depth+1) || p.token != ")" {
			return false
		}
		p.next()
		return true
	}
	id := p.token
	plain := strings.TrimSuffix(id, "+")
	known := func(id string) bool { return lists().licenses[id] || lists().newer[id] }
	switch {
	case isLicenseRef(id):
		p.refs = append(p.refs, id)
	case !known(id) && !known(plain):
		return false
	}
	p.operands++
	p.next()
	if p.token == "WITH" {
		p.next()
		if !lists().exceptions[p.token] {
			return false
		}
		p.operands++
		p.next()
	}
	return true
}

func isLicenseRef(s string) bool {
	id, ok := strings.CutPrefix(s, "LicenseRef-")
	return ok && id != "" && strings.IndexFunc(id, func(r rune) bool { return !isIDRune(r) }) < 0
}

// isIDRune reports whether r may stand in an SPDX identifier: letters, digits,
// "." and "-".
func isIDRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '-'
}

// Slug is s with everything that may not stand in an SPDX identifier replaced
// by "-", cut to most bytes.
func Slug(s string, most int) string {
	slug := strings.Map(func(r rune) rune {
		if isIDRune(r) {
			return r
		}
		return '-'
	}, s[:min(len(s), most)])
	return slug[:min(len(slug), most)]
}
