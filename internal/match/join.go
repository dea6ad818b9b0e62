package match

import (
	"cmp"
	"slices"
	"strings"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/version"
)

// cveOf is the CVE that id is, or that it is about by its very name, or "": the
// records DEBIAN-CVE-2024-1000, UBUNTU-CVE-… and ALPINE-CVE-… are about exactly
// that one.
func cveOf(id string) string {
	i := strings.Index(id, "CVE-")
	if i < 0 {
		return ""
	}
	if i > 0 && (id[i-1] != '-' || strings.Trim(id[:i-1], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "") {
		return ""
	}
	year, number, _ := strings.Cut(id[i+len("CVE-"):], "-")
	const digits = "0123456789"
	if len(year) != 4 || len(number) < 4 || strings.Trim(year, digits) != "" || strings.Trim(number, digits) != "" {
		return ""
	}
	return id[i:]
}

// about are the CVEs that a distribution's record says it repairs: those under
// upstream, or, in feeds older than that field, under related. Sorted.
func about(adv *plimsoll.Advisory) []string {
	for _, names := range [][]string{adv.Upstream, adv.Related} {
		var ids []string
		for _, n := range names {
			if id := cveOf(n); id != "" {
				ids = append(ids, id)
			}
		}
		if len(ids) > 0 {
			slices.Sort(ids)
			return slices.Compact(ids)
		}
	}
	return nil
}

// names are all names of the one vulnerability that a hit is about, its own
// first. Upstream and related do not count, but for a distribution's record
// that is about exactly one CVE.
func (h *hit) names(os bool) []string {
	names := append([]string{h.advisory.ID}, h.advisory.Aliases...)
	if !os {
		return names
	}
	if id := cveOf(h.advisory.ID); id != "" {
		return append(names, id)
	}
	if ids := about(h.advisory); len(ids) == 1 {
		return append(names, ids[0])
	}
	return names
}

// vulnerability is what several advisories say about the same thing.
type vulnerability struct {
	names []string
	hits  []hit
}

// join makes one finding of each vulnerability of c: advisories that share a
// name, their own or an alias, speak of the same.
func join(c *plimsoll.Component, hits []hit) []plimsoll.Finding {
	if len(hits) == 0 {
		return nil
	}
	// A forest: each hit leads to an earlier one that shares a name with it.
	parent := make([]int, len(hits))
	root := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	byName := map[string]int{}
	for i := range hits {
		parent[i] = i
		for _, name := range hits[i].names(c.IsOS()) {
			if j, known := byName[name]; known {
				low, high := min(root(i), root(j)), max(root(i), root(j))
				parent[high] = low
			} else {
				byName[name] = i
			}
		}
	}
	groups := make([]*vulnerability, len(hits))
	for i, h := range hits {
		r := root(i)
		if r == i {
			groups[i] = &vulnerability{}
		}
		groups[r].hits = append(groups[r].hits, h)
		groups[r].names = append(groups[r].names, h.names(c.IsOS())...)
	}
	groups = slices.DeleteFunc(groups, func(g *vulnerability) bool { return g == nil })
	groups = fold(groups, c.IsOS())
	findings := make([]plimsoll.Finding, 0, len(groups))
	for _, g := range groups {
		findings = append(findings, g.finding(c))
	}
	return findings
}

// fold drops a distribution's collective advisories (DSA, USN, ALSA …) where
// each of the CVEs that they repair has a record of its own here, and leaves
// their ids with those.
func fold(groups []*vulnerability, os bool) []*vulnerability {
	if !os {
		return groups
	}
	byCVE := map[string]*vulnerability{}
	for _, g := range groups {
		for _, n := range g.names {
			if id := cveOf(n); id == n {
				byCVE[id] = g
			}
		}
	}
	return slices.DeleteFunc(groups, func(g *vulnerability) bool {
		if len(g.hits) != 1 {
			return false
		}
		ids := about(g.hits[0].advisory)
		if len(ids) < 2 {
			return false
		}
		for _, id := range ids {
			if byCVE[id] == nil || byCVE[id] == g {
				return false
			}
		}
		for _, id := range ids {
			byCVE[id].hits = append(byCVE[id].hits, hit{advisory: &plimsoll.Advisory{ID: g.hits[0].advisory.ID}, ecosystem: g.hits[0].ecosystem, fixed: g.hits[0].fixed})
		}
		return true
	})
}

// finding of g in c.
func (g *vulnerability) finding(c *plimsoll.Component) plimsoll.Finding {
	f := plimsoll.Finding{
		PURL: c.PURL, Package: c.Name, Installed: g.hits[0].installed, Paths: c.Paths,
		Layer: c.Layer, DiffID: c.DiffID, Step: c.Step,
	}
	var ratings []plimsoll.Severity
	malicious := false
	for _, h := range g.hits {
		adv := h.advisory
		f.Advisories = append(f.Advisories, adv.ID)
		malicious = malicious || strings.HasPrefix(adv.ID, "MAL-")
		ratings = append(ratings, h.ratings()...)
		f.Summary = cmp.Or(f.Summary, line(adv.Summary))
		f.Fixed = later(h.ecosystem, f.Fixed, h.fixed)
	}
	for _, h := range g.hits {
		f.Summary = cmp.Or(f.Summary, line(h.advisory.Details))
	}
	slices.Sort(f.Advisories)
	f.Advisories = slices.Compact(f.Advisories)
	f.ID = g.bestName()
	for _, n := range g.names {
		// A distribution's record is an advisory, no other name of the flaw.
		if n != f.ID && (!c.IsOS() || !slices.Contains(f.Advisories, n)) {
			f.Aliases = append(f.Aliases, n)
		}
	}
	slices.Sort(f.Aliases)
	f.Aliases = slices.Compact(f.Aliases)
	r := rate(ratings)
	f.Level, f.Score, f.Vector = r.level, r.score, r.vector
	if malicious {
		f.Level = plimsoll.Critical
	}
	f.URL = g.url()
	return f
}

// ratings of a hit: CVSS vectors for the very package stand in for those of the
// whole advisory.
func (h *hit) ratings() []plimsoll.Severity {
	isVector := func(s plimsoll.Severity) bool { return strings.HasPrefix(s.Type, "CVSS_") }
	if !slices.ContainsFunc(h.severity, isVector) {
		return slices.Concat(h.severity, h.advisory.Severity)
	}
	words := slices.DeleteFunc(slices.Clone(h.advisory.Severity), isVector)
	return append(words, h.severity...)
}

// bestName is the CVE, where there is one, else the id of the first advisory by
// name. Of several CVEs it is the one with the lowest number.
func (g *vulnerability) bestName() string {
	var cves, ids []string
	for _, n := range g.names {
		if cveOf(n) == n {
			cves = append(cves, n)
		}
	}
	if len(cves) > 0 {
		return slices.MinFunc(cves, func(a, b string) int {
			return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
		})
	}
	for _, h := range g.hits {
		ids = append(ids, h.advisory.ID)
	}
	return slices.Min(ids)
}

// url is a page about the vulnerability.
func (g *vulnerability) url() string {
	for _, h := range g.hits {
		for _, r := range h.advisory.References {
			if r.Type == "ADVISORY" && (strings.HasPrefix(r.URL, "https://") || strings.HasPrefix(r.URL, "http://")) {
				return r.URL
			}
		}
	}
	return "https://osv.dev/vulnerability/" + g.hits[0].advisory.ID
}

// later is the higher of two fixed versions: only from there on do all
// advisories agree that it is repaired.
func later(ecosystem, a, b string) string {
	if a == "" || b == "" {
		return cmp.Or(a, b)
	}
	if c, err := version.Compare(ecosystem, a, b); err == nil && c < 0 {
		return b
	}
	return a
}

// line is the beginning of an advisory's prose, as one line.
func line(s string) string {
	const most = 200
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f && r < 0xa0 }), " ")
	if runes := []rune(s); len(runes) > most {
		return strings.TrimSpace(string(runes[:most-1])) + "…"
	}
	return s
}
