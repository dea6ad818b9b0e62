package match

import (
	"fmt"
	"slices"
	"strings"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/version"
)

// Verdict is what an advisory's entries come to for one version.
type Verdict struct {
	Affected bool
	// Fixed is the lowest version above the installed one that the same
	// advisory calls fixed and does not call affected elsewhere; "" for none.
	Fixed string
	// Why names what decided, for people: the listed version or the range.
	// Empty when not affected.
	Why string
}

// Affects says whether installed is affected according to entries, which are
// what one advisory says about one package of one ecosystem. It follows the
// evaluation that the OSV schema defines (ossf.github.io/osv-schema,
// "Evaluation"): a version is affected if it is listed or inside any range;
// inside a range, the last event at or below it decides, in the order of the
// versions and not of the list. Ranges of type GIT never match.
//
// An error says that some version cannot be compared and that nothing else
// already shows that installed is affected.
func Affects(entries []plimsoll.Affected, installed string) (Verdict, error) {
	return affects(entries, &candidate{text: installed})
}

// candidate is a version that is compared with many others. It is parsed once
// for each order.
type candidate struct {
	text      string
	ecosystem string // of parsed
	parsed    version.Version
	err       error
}

func (c *candidate) in(ecosystem string) (version.Version, error) {
	if c.ecosystem != ecosystem {
		c.ecosystem = ecosystem
		c.parsed, c.err = version.Parse(ecosystem, c.text)
	}
	return c.parsed, c.err
}

// compare places c before (-1), at (0) or after (+1) other.
func (c *candidate) compare(ecosystem, other string) (int, error) {
	if c.text == other {
		return 0, nil
	}
	v, err := c.in(ecosystem)
	if err != nil {
		return 0, err
	}
	w, err := version.Parse(ecosystem, other)
	if err != nil {
		return 0, err
	}
	return v.Compare(w)
}

func affects(entries []plimsoll.Affected, c *candidate) (Verdict, error) {
	why, err := reason(entries, c)
	if why == "" {
		return Verdict{}, err
	}
	return Verdict{Affected: true, Fixed: fixed(entries, c), Why: why}, nil
}

// reason is why entries say that c is affected, or "".
func reason(entries []plimsoll.Affected, c *candidate) (string, error) {
	var failed error
	for i := range entries {
		a := &entries[i]
		if slices.Contains(a.Versions, c.text) {
			return c.text + " is listed", nil
		}
		for j := range a.Ranges {
			r := &a.Ranges[j]
			inside, err := within(r, order(a, r), c)
			if err != nil {
				failed = err
			} else if inside {
				return c.text + " is in the range " + describe(r), nil
			}
		}
		// Where the list is all there is, other spellings of a listed version
		// count: 1.0 and 1.0.0 are one version of PyPI.
		if len(a.Ranges) == 0 && version.Supported(a.Ecosystem) {
			for _, v := range a.Versions {
				if x, err := c.compare(a.Ecosystem, v); err == nil && x == 0 {
					return c.text + " is listed as " + v, nil
				}
			}
		}
	}
	return "", failed
}

// order is the ecosystem by whose rules r is read.
func order(a *plimsoll.Affected, r *plimsoll.Range) string {
	if r.Type == "SEMVER" {
		return version.SemVer
	}
	return a.Ecosystem
}

// within says whether c is inside r: whether the highest event that c has
// passed is an introduction. Among events at one version the later in the list
// decides: "fixed 2, introduced 2" goes on, "introduced 2, fixed 2" never was.
func within(r *plimsoll.Range, ecosystem string, c *candidate) (bool, error) {
	if r.Type == "GIT" {
		return false, nil
	}
	inside := false
	var last *version.Version // of the highest event passed; nil for introduced "0"
	limited, limits := true, false
	for i := range r.Events {
		e := &r.Events[i]
		if e.Limit != "" {
			// Affected only below some limit; "*" is above everything.
			limits = true
			if e.Limit == "*" {
				limited = false
			} else if x, err := c.compare(ecosystem, e.Limit); err != nil {
				return false, err
			} else if x < 0 {
				limited = false
			}
			continue
		}
		if e.Introduced == "0" {
			if last == nil {
				inside = true
			}
			continue
		}
		text := e.Introduced + e.Fixed + e.LastAffected // one of them is set
		w, err := version.Parse(ecosystem, text)
		if err != nil {
			return false, err
		}
		v, err := c.in(ecosystem)
		if err != nil {
			return false, err
		}
		x, err := v.Compare(w)
		if err != nil {
			return false, err
		}
		if x < 0 || x == 0 && e.LastAffected != "" {
			continue // not passed
		}
		if last != nil {
			if x, err = w.Compare(*last); err != nil {
				return false, err
			} else if x < 0 {
				continue
			}
		}
		last, inside = &w, e.Introduced != ""
	}
	if limits && limited {
		return false, nil
	}
	return inside, nil
}

// fixed is the lowest version above c that entries call fixed and that is not
// affected itself.
func fixed(entries []plimsoll.Affected, c *candidate) string {
	var above []version.Version
	for i := range entries {
		a := &entries[i]
		for j := range a.Ranges {
			r := &a.Ranges[j]
			for _, e := range r.Events {
				if e.Fixed == "" {
					continue
				}
				v, err := c.in(order(a, r))
				if err != nil {
					continue
				}
				w, err := version.Parse(order(a, r), e.Fixed)
				if err != nil {
					continue
				}
				if x, err := v.Compare(w); err == nil && x < 0 {
					above = append(above, w)
				}
			}
		}
	}
	slices.SortFunc(above, func(a, b version.Version) int {
		x, err := a.Compare(b)
		if err != nil || x == 0 {
			return strings.Compare(a.String(), b.String())
		}
		return x
	})
	for _, v := range above {
		if why, err := reason(entries, &candidate{text: v.String()}); why == "" && err == nil {
			return v.String()
		}
	}
	return ""
}

// describe writes a range as people read it: ">= 1.0, < 1.2 or >= 2.0".
func describe(r *plimsoll.Range) string {
	const most = 8
	var b strings.Builder
	for i, e := range r.Events {
		if i == most {
			fmt.Fprintf(&b, " and %d more bounds", len(r.Events)-most)
			break
		}
		separator := ", "
		switch {
		case i == 0:
			separator = ""
		case e.Introduced != "":
			separator = " or "
		}
		b.WriteString(separator)
		switch {
		case e.Introduced == "0":
			b.WriteString("any version")
		case e.Introduced != "":
			b.WriteString(">= " + e.Introduced)
		case e.Fixed != "":
			b.WriteString("< " + e.Fixed)
		case e.LastAffected != "":
			b.WriteString("<= " + e.LastAffected)
		default:
			b.WriteString("below the limit " + e.Limit)
		}
	}
	return b.String()
}
