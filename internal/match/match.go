// Package match compares a bill of materials with the advisory file: which
// components have a known vulnerability, and which could not be compared.
// docs/matching.md has the rules in words.
package match

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/advisory"
	"github.com/plimsoll/plimsoll/internal/version"
)

// Match finds the known vulnerabilities of bom's components in db: one finding
// for each vulnerability of each component, ordered by level, id and purl. The
// gaps say, one for each reason, what could not be assessed.
func Match(ctx context.Context, db *advisory.DB, bom *plimsoll.BOM) ([]plimsoll.Finding, []plimsoll.Gap, error) {
	m := &matcher{ctx: ctx, db: db, bom: bom, covered: map[string]bool{}, gaps: map[string]*gap{}}
	questions, err := m.questions()
	if err != nil {
		return nil, nil, err
	}
	// Equal questions, such as those of all packages of one source, are asked
	// of the file once.
	slices.SortStableFunc(questions, func(a, b question) int {
		return cmp.Or(strings.Compare(a.ecosystem, b.ecosystem), strings.Compare(a.name, b.name), strings.Compare(a.version, b.version))
	})
	hits := make([][]hit, len(bom.Components))
	for len(questions) > 0 {
		q := questions[0]
		n := 1
		for n < len(questions) && questions[n].ecosystem == q.ecosystem && questions[n].name == q.name {
			n++
		}
		if err := m.ask(questions[:n], hits); err != nil {
			return nil, nil, err
		}
		questions = questions[n:]
	}
	var findings []plimsoll.Finding
	for i := range hits {
		findings = append(findings, join(&bom.Components[i], hits[i])...)
	}
	slices.SortStableFunc(findings, func(a, b plimsoll.Finding) int {
		return cmp.Or(cmp.Compare(a.Level.Rank(), b.Level.Rank()), strings.Compare(a.ID, b.ID), strings.Compare(a.PURL, b.PURL))
	})
	return findings, m.report(), nil
}

type matcher struct {
	ctx     context.Context
	db      *advisory.DB
	bom     *plimsoll.BOM
	covered map[string]bool
	gaps    map[string]*gap
}

// question: what is known about this version of this package?
type question struct {
	component int // index into BOM.Components
	ecosystem string
	name      string // as advisory.Key gives it
	version   string
}

// hit is an advisory that affects a component.
type hit struct {
	advisory  *plimsoll.Advisory
	severity  []plimsoll.Severity // of this package, where the advisory has one
	ecosystem string
	installed string
	fixed     string
}

// questions are what is to be looked up for all components, with a gap for
// each that cannot be.
func (m *matcher) questions() ([]question, error) {
	var all []question
	for i := range m.bom.Components {
		c := &m.bom.Components[i]
		if c.Ecosystem == "" {
			m.gap(m.homeless(c), c)
			continue
		}
		covered, err := m.covers(c.Ecosystem)
		if err != nil {
			return nil, err
		}
		if c.Owner != "" {
			// The files came with a distribution's package, and so do their
			// repairs: its word counts, not that of the language's registry,
			// which does not know what was backported.
			home, err := m.distribution()
			if err != nil {
				return nil, err
			}
			if home {
				continue
			}
		}
		if !covered {
			m.gap("no advisories for "+c.Ecosystem+" in the advisory file", c)
			continue
		}
		questions := asks(c)
		if c.Ecosystem == "Maven" && !strings.Contains(questions[0].name, ":") {
			m.gap("without the group that Maven advisories are found by", c)
			continue
		}
		before := len(all)
		for _, q := range questions {
			q.component = i
			q.name = advisory.Key(q.ecosystem, q.name)
			if q.name != "" && plausible(q.ecosystem, q.version) {
				all = append(all, q)
			}
		}
		if len(all) == before {
			m.gap("without a version that "+family(c.Ecosystem)+" advisories can be compared with", c)
		}
	}
	return all, nil
}

// homeless says why a component has no ecosystem.
func (m *matcher) homeless(c *plimsoll.Component) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(c.PURL, "pkg:"), "/")
	switch {
	case c.IsOS() && m.bom.Distro == nil:
		return "packages of an unknown distribution: the image does not say which it is"
	case c.IsOS():
		return "no advisories are known for " + m.bom.Distro.String() + " and its " + kind + " packages"
	}
	return "no advisories are known for components of the kind pkg:" + kind
}

func (m *matcher) covers(ecosystem string) (bool, error) {
	if covered, ok := m.covered[ecosystem]; ok {
		return covered, nil
	}
	covered, err := m.db.Covers(m.ctx, ecosystem)
	if err != nil {
		return false, err
	}
	m.covered[ecosystem] = covered
	return covered, nil
}

// distribution says whether there are advisories for the image's own packages.
func (m *matcher) distribution() (bool, error) {
	for i := range m.bom.Components {
		if c := &m.bom.Components[i]; c.IsOS() && c.Ecosystem != "" {
			return m.covers(c.Ecosystem)
		}
	}
	return false, nil
}

// ask looks up one package and compares all versions of it that are installed.
func (m *matcher) ask(questions []question, hits [][]hit) error {
	q := questions[0]
	entries, err := m.db.Affected(m.ctx, q.ecosystem, q.name)
	if err != nil || len(entries) == 0 {
		return err
	}
	advisories := map[int64]*plimsoll.Advisory{}
	for len(questions) > 0 {
		q, n := questions[0], 1
		for n < len(questions) && questions[n].version == q.version {
			n++
		}
		c := &candidate{text: q.version}
		for rest := entries; len(rest) > 0; {
			// The entries of one advisory stand together.
			k := 1
			for k < len(rest) && rest[k].Ref == rest[0].Ref {
				k++
			}
			ref, id := rest[0].Ref, rest[0].ID
			affected := make([]plimsoll.Affected, k)
			for i := range affected {
				affected[i] = rest[i].Affected
			}
			rest = rest[k:]
			verdict, err := affects(affected, c)
			if err != nil {
				for _, q := range questions[:n] {
					m.gap("versions that the order of "+family(q.ecosystem)+" versions has no place for", &m.bom.Components[q.component], " against "+id)
				}
				continue
			}
			if !verdict.Affected {
				continue
			}
			adv := advisories[ref]
			if adv == nil {
				read, err := m.db.Advisory(m.ctx, ref)
				if err != nil {
					return err
				}
				adv = &read
				advisories[ref] = adv
			}
			if !counts(adv) {
				continue
			}
			h := hit{advisory: adv, ecosystem: q.ecosystem, installed: q.version, fixed: verdict.Fixed}
			for _, a := range affected {
				h.severity = append(h.severity, a.Severity...)
			}
			for _, q := range questions[:n] {
				list := &hits[q.component]
				// Asked under two names, an advisory may answer twice.
				if !slices.ContainsFunc(*list, func(other hit) bool { return other.advisory.ID == adv.ID && other.advisory.Feed == adv.Feed }) {
					*list = append(*list, h)
				}
			}
		}
		questions = questions[n:]
	}
	return nil
}

// counts tells vulnerabilities from what feeds publish beside them: withdrawn
// records, updates that repair bugs or bring features and name no CVE
// (AlmaLinux's ALBA and ALEA and their cousins), and Ubuntu's notices about
// patching a running kernel (LSN), which an image does not have.
func counts(adv *plimsoll.Advisory) bool {
	prefix, _, _ := strings.Cut(adv.ID, "-")
	switch prefix {
	case "LSN":
		return false
	case "ALBA", "ALEA", "RHBA", "RHEA", "ELBA", "ELEA", "RLBA", "RLEA":
		return len(about(adv)) > 0 && adv.Withdrawn.IsZero()
	}
	return adv.Withdrawn.IsZero()
}

// asks are the names and versions under which advisories may know c.
func asks(c *plimsoll.Component) []question {
	if c.IsOS() {
		return asksOS(c)
	}
	name, v := c.Name, c.Version
	if p, err := packageurl.FromString(c.PURL); err == nil && p.Name != "" {
		name = p.Name
		separator := "/"
		if c.Ecosystem == "Maven" {
			separator = ":"
		}
		if p.Namespace != "" {
			name = p.Namespace + separator + p.Name
		}
	}
	if c.Ecosystem == "Go" {
		// Advisories write Go versions without the v.
		v = strings.TrimPrefix(v, "v")
	}
	return []question{{ecosystem: c.Ecosystem, name: name, version: v}}
}

func asksOS(c *plimsoll.Component) []question {
	binary := question{ecosystem: c.Ecosystem, name: c.Name, version: c.Version}
	if c.Source == nil || c.Source.Name == "" {
		return []question{binary}
	}
	source := question{ecosystem: c.Ecosystem, name: c.Source.Name, version: cmp.Or(c.Source.Version, c.Version)}
	switch family(c.Ecosystem) {
	case "Rocky Linux", "SUSE", "openSUSE", "openEuler", "Mageia":
		// Their records name source packages, at times binary ones. A source
		// rpm's file name has no epoch; its packages have.
		epoch, _, found := strings.Cut(c.Version, ":")
		if found && !strings.Contains(source.version, ":") {
			source.version = epoch + ":" + source.version
		}
		if source.name == binary.name {
			return []question{binary}
		}
		return []question{binary, source}
	}
	if c.Detector == "rpm" {
		return []question{binary}
	}
	// Debian, Ubuntu and Alpine with their kin know source packages only. An
	// apk's version is that of its origin.
	return []question{source}
}

// family is the ecosystem without its suffix.
func family(ecosystem string) string {
	name, _, _ := strings.Cut(ecosystem, ":")
	return name
}

// plausible tells versions from what stands in their place: nothing, (devel),
// dev-main, ${project.version}, a commit.
func plausible(ecosystem, v string) bool {
	if v == "" || len(v) > version.MaxLength || !strings.ContainsAny(v, "0123456789") {
		return false
	}
	switch ecosystem {
	case "Go":
		major, rest, found := strings.Cut(v, ".")
		return found && rest != "" && strings.Trim(major, "0123456789") == ""
	case "Maven":
		return !strings.Contains(v, "${")
	case "Packagist":
		return !strings.HasPrefix(v, "dev-")
	}
	return true
}

// gap collects the components that one reason concerns.
type gap struct {
	count int
	names []string // the first few
}

func (m *matcher) gap(reason string, c *plimsoll.Component, detail ...string) {
	g := m.gaps[reason]
	if g == nil {
		g = &gap{}
		m.gaps[reason] = g
	}
	g.count++
	if name := strings.TrimSpace(c.Name+" "+c.Version) + strings.Join(detail, ""); len(g.names) < 3 && !slices.Contains(g.names, name) {
		g.names = append(g.names, name)
	}
}

func (m *matcher) report() []plimsoll.Gap {
	var gaps []plimsoll.Gap
	for reason, g := range m.gaps {
		what := "1 component"
		if g.count > 1 {
			what = fmt.Sprintf("%d components", g.count)
		}
		examples := strings.Join(g.names, ", ")
		if g.count > len(g.names) {
			examples += ", …"
		}
		gaps = append(gaps, plimsoll.Gap{
			Kind: plimsoll.Unassessed, Layer: plimsoll.NoLayer, Detector: "match",
			Reason: fmt.Sprintf("%s: %s not compared (%s)", reason, what, examples),
		})
	}
	slices.SortFunc(gaps, func(a, b plimsoll.Gap) int { return strings.Compare(a.Reason, b.Reason) })
	return gaps
}
