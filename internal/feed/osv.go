package feed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/version"
)

// What one OSV record may hold. The largest of the 29,937 real ones that were
// looked at has 195 KB and 3,019 affected entries; the limits leave room for
// ten times the largest that the OSV bucket is known to hold.
const (
	maxRecord   = 16 << 20 // bytes
	maxEntries  = 50_000   // affected entries
	maxEvents   = 10_000   // of one range
	maxVersions = 100_000  // of one affected entry
	maxNames    = 20_000   // aliases, upstream, related
	maxText     = 500      // bytes of an id, package, ecosystem, version or alias
)

// Notes of an import: kinds of things left out of records, or doubtful in them.
const (
	noteGit       = "GIT ranges left out: they name commits, not versions"
	noteNoPackage = "affected entries without a package left out"
	noteNothing   = "records that name no package version and so never match"
	noteFuture    = "records with a modification date in the future"
	noteNoDate    = "records without a usable modification date"
	noteFile      = "files of a zip that are not .json passed over"
	noteRange     = "ranges of an unknown type left out"
	noteBound     = "upper bounds taken from last_known_affected_version_range"
)

// osvRecord is the part of an OSV record (ossf.github.io/osv-schema, version
// 1.7) that is used.
type osvRecord struct {
	ID         string         `json:"id"`
	Modified   string         `json:"modified"`
	Published  string         `json:"published"`
	Withdrawn  string         `json:"withdrawn"`
	Aliases    []string       `json:"aliases"`
	Upstream   []string       `json:"upstream"`
	Related    []string       `json:"related"`
	Summary    string         `json:"summary"`
	Details    string         `json:"details"`
	Severity   []osvSeverity  `json:"severity"`
	References []osvReference `json:"references"`
	Affected   []osvAffected  `json:"affected"`
	Database   struct {
		Severity text   `json:"severity"`
		License  string `json:"license"`
	} `json:"database_specific"`
}

type osvSeverity struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

type osvReference struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

type osvAffected struct {
	Package *struct {
		Ecosystem string `json:"ecosystem"`
		Name      string `json:"name"`
	} `json:"package"`
	Severity []osvSeverity `json:"severity"`
	Ranges   []struct {
		Type   string     `json:"type"`
		Events []osvEvent `json:"events"`
	} `json:"ranges"`
	Versions  []string `json:"versions"`
	Ecosystem struct {
		Urgency text `json:"urgency"`
	} `json:"ecosystem_specific"`
	Database struct {
		LastKnown     text `json:"last_known_affected_version_range"`
		Informational text `json:"informational"`
	} `json:"database_specific"`
}

type osvEvent struct {
	Introduced   string `json:"introduced"`
	Fixed        string `json:"fixed"`
	LastAffected string `json:"last_affected"`
	Limit        string `json:"limit"`
}

// text is a JSON string; anything else in its place reads as empty. Only for
// the "specific" objects, which databases fill as they like.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*t = text(s)
	}
	return nil
}

// parsed is a record as read, and what is to be said about it.
type parsed struct {
	advisory plimsoll.Advisory
	licence  string
	notes    []string
}

// parseOSV reads one record. The error says why it is rejected: a record is
// taken as a whole or not at all, except for the parts that a note is given of.
func parseOSV(data []byte, now time.Time) (*parsed, error) {
	if err := checkJSON(data); err != nil {
		return nil, err
	}
	var r osvRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, jsonError(err)
	}
	p := &parsed{licence: licenceOf(&r)}
	adv := &p.advisory
	adv.Feed = "osv"
	if err := checkText("id", r.ID); err != nil {
		return nil, err
	}
	adv.ID = r.ID
	var err error
	for _, date := range []struct {
		name string
		from string
		to   *time.Time
	}{{"modified", r.Modified, &adv.Modified}, {"published", r.Published, &adv.Published}, {"withdrawn", r.Withdrawn, &adv.Withdrawn}} {
		if date.from == "" {
			continue
		}
		if *date.to, err = time.Parse(time.RFC3339, date.from); err != nil {
			return nil, fmt.Errorf("%s: %q is not a time as RFC 3339 writes it", date.name, clip(date.from))
		}
	}
	switch {
	case adv.Modified.Year() < 1990:
		p.note(noteNoDate)
	case adv.Modified.After(now.Add(24 * time.Hour)):
		p.note(noteFuture)
	}
	if n := len(r.Aliases) + len(r.Upstream) + len(r.Related); n > maxNames {
		return nil, fmt.Errorf("%d aliases, upstream and related names; the limit is %d", n, maxNames)
	}
	for _, names := range []struct {
		name string
		from []string
		to   *[]string
	}{{"aliases", r.Aliases, &adv.Aliases}, {"upstream", r.Upstream, &adv.Upstream}, {"related", r.Related, &adv.Related}} {
		for _, n := range names.from {
			if err := checkText(names.name, n); err != nil {
				return nil, err
			}
		}
		*names.to = names.from
	}
	adv.Summary, adv.Details = r.Summary, r.Details
	for _, ref := range r.References {
		if len(ref.URL) <= 4*maxText && len(ref.Type) <= maxText {
			adv.References = append(adv.References, plimsoll.Reference(ref))
		}
	}
	if adv.Severity, err = severities(r.Severity); err != nil {
		return nil, err
	}
	if word := wordOf(&r); word != (plimsoll.Severity{}) {
		adv.Severity = append(adv.Severity, word)
	}

	if len(r.Affected) > maxEntries {
		return nil, fmt.Errorf("%d affected entries; the limit is %d", len(r.Affected), maxEntries)
	}
	for i := range r.Affected {
		a, err := p.affected(&r.Affected[i])
		if err != nil {
			return nil, fmt.Errorf("affected[%d]: %w", i, err)
		}
		if a != nil {
			adv.Affected = append(adv.Affected, *a)
		}
	}
	if len(adv.Affected) == 0 {
		p.note(noteNothing)
	}
	return p, nil
}

func (p *parsed) note(kind string) { p.notes = append(p.notes, kind) }

// affected reads one affected entry; nil where it names no package version.
func (p *parsed) affected(from *osvAffected) (*plimsoll.Affected, error) {
	for _, r := range from.Ranges {
		if r.Type == "GIT" {
			p.note(noteGit)
		}
	}
	if from.Package == nil {
		p.note(noteNoPackage)
		return nil, nil
	}
	if err := checkText("package.ecosystem", from.Package.Ecosystem); err != nil {
		return nil, err
	}
	if err := checkText("package.name", from.Package.Name); err != nil {
		return nil, err
	}
	a := &plimsoll.Affected{Ecosystem: from.Package.Ecosystem, Package: from.Package.Name}
	var err error
	if a.Severity, err = severities(from.Severity); err != nil {
		return nil, err
	}
	if u := string(from.Ecosystem.Urgency); u != "" && len(u) <= maxText {
		a.Severity = append(a.Severity, plimsoll.Severity{Type: "Debian", Score: u})
	}
	if i := string(from.Database.Informational); i != "" && len(i) <= maxText {
		a.Severity = append(a.Severity, plimsoll.Severity{Type: "RustSec", Score: i})
	}
	for i, r := range from.Ranges {
		switch r.Type {
		case "SEMVER", "ECOSYSTEM":
		case "GIT":
			continue
		default:
			p.note(noteRange)
			continue
		}
		if len(r.Events) > maxEvents {
			return nil, fmt.Errorf("ranges[%d]: %d events; the limit is %d", i, len(r.Events), maxEvents)
		}
		events := make([]plimsoll.Event, len(r.Events))
		starts := false
		for j, e := range r.Events {
			if events[j], err = event(e); err != nil {
				return nil, fmt.Errorf("ranges[%d].events[%d]: %w", i, j, err)
			}
			starts = starts || events[j].Introduced != ""
		}
		if !starts {
			return nil, fmt.Errorf("ranges[%d]: no introduced event: nothing would ever be affected", i)
		}
		a.Ranges = append(a.Ranges, plimsoll.Range{Type: r.Type, Events: events})
	}
	if len(from.Versions) > maxVersions {
		return nil, fmt.Errorf("%d versions; the limit is %d", len(from.Versions), maxVersions)
	}
	for _, v := range from.Versions {
		if err := checkText("versions", v); err != nil {
			return nil, err
		}
	}
	a.Versions = from.Versions
	if p.bound(a, string(from.Database.LastKnown)) {
		p.note(noteBound)
	}
	if len(a.Ranges) == 0 && len(a.Versions) == 0 {
		return nil, nil
	}
	return a, nil
}

// event checks that e is exactly one of the four.
func event(e osvEvent) (plimsoll.Event, error) {
	set := 0
	for _, v := range []string{e.Introduced, e.Fixed, e.LastAffected, e.Limit} {
		if v == "" {
			continue
		}
		set++
		if err := checkText("version", v); err != nil {
			return plimsoll.Event{}, err
		}
	}
	if set != 1 {
		return plimsoll.Event{}, fmt.Errorf("%d of introduced, fixed, last_affected and limit are set; an event is one", set)
	}
	return plimsoll.Event(e), nil
}

// bound takes the upper bound of a from GitHub's
// last_known_affected_version_range ("<= 1.2.3", "< 1.3") where its ranges give
// none, as in GHSA-g3ch-rx76-35fx: without it every later version would match
// for ever. Such a bound is no fix: "<" becomes a limit. Listed versions beyond
// it were enumerated from the unbounded range (GHSA-85q9-7467-r53q) and go.
func (p *parsed) bound(a *plimsoll.Affected, lastKnown string) bool {
	if lastKnown == "" || len(a.Ranges) == 0 {
		return false
	}
	for _, r := range a.Ranges {
		for _, e := range r.Events {
			if e.Introduced == "" {
				return false
			}
		}
	}
	op, bound, ok := strings.Cut(lastKnown, " ")
	bound = strings.TrimSpace(bound)
	var e plimsoll.Event
	switch {
	case !ok || checkText("version", bound) != nil:
		return false
	case op == "<=":
		e.LastAffected = bound
	case op == "<":
		e.Limit = bound
	default:
		return false
	}
	for i := range a.Ranges {
		a.Ranges[i].Events = append(a.Ranges[i].Events, e)
	}
	a.Versions = slices.DeleteFunc(a.Versions, func(v string) bool {
		c, err := version.Compare(a.Ecosystem, v, bound)
		return err == nil && (c > 0 || c == 0 && op == "<")
	})
	return true
}

// severities checks ratings and copies them.
func severities(from []osvSeverity) ([]plimsoll.Severity, error) {
	if len(from) > 100 {
		return nil, fmt.Errorf("%d severity ratings; the limit is 100", len(from))
	}
	var to []plimsoll.Severity
	for _, s := range from {
		if len(s.Type) > maxText || len(s.Score) > maxText {
			return nil, errors.New("severity: longer than a rating can be")
		}
		to = append(to, plimsoll.Severity(s))
	}
	return to, nil
}

// updateWord is how AlmaLinux, Rocky Linux and Red Hat begin the summary of a
// security update, the only place where the OSV form has their rating.
var updateWord = regexp.MustCompile(`^(Critical|Important|Moderate|Low): `)

// wordOf is the rating that the database gives in a word of its own, under the
// prefix of its ids: {GHSA MODERATE}, {BIT High}, {ALSA Important}.
func wordOf(r *osvRecord) plimsoll.Severity {
	prefix, _, _ := strings.Cut(r.ID, "-")
	word := string(r.Database.Severity)
	if m := updateWord.FindStringSubmatch(r.Summary); word == "" && m != nil {
		word = m[1]
	}
	if word == "" || len(word) > maxText {
		return plimsoll.Severity{}
	}
	return plimsoll.Severity{Type: prefix, Score: word}
}

// licenceOf is the licence that a record says, or that its database is published
// under (google.github.io/osv.dev/data, "Data sources").
func licenceOf(r *osvRecord) string {
	if l := r.Database.License; l != "" && len(l) <= maxText {
		return l
	}
	prefix, _, _ := strings.Cut(r.ID, "-")
	switch prefix {
	case "GHSA", "GO", "PYSEC":
		return "CC-BY-4.0"
	case "RUSTSEC":
		return "CC0-1.0"
	case "ALPINE", "UBUNTU", "USN", "LSN":
		return "CC-BY-SA-4.0"
	case "ALSA", "ALBA", "ALEA":
		return "MIT"
	case "RLSA", "RXSA":
		return "BSD-3-Clause"
	case "BIT", "MAL", "CGA":
		return "Apache-2.0"
	}
	return "not stated (" + clip(prefix) + ")"
}

// checkJSON names the commonest things that come in place of a JSON object.
func checkJSON(data []byte) error {
	start := bytes.TrimLeft(data, " \t\r\n")
	switch {
	case len(start) == 0:
		return errors.New("empty")
	case bytes.HasPrefix(start, []byte("\xef\xbb\xbf")):
		return errors.New("starts with a byte order mark, which JSON does not have (RFC 8259)")
	case bytes.HasPrefix(start, []byte("<")):
		return errors.New("HTML or XML instead of JSON")
	case start[0] != '{':
		return errors.New("not a JSON object")
	}
	return nil
}

func jsonError(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s is a JSON %s", clip(wrong.Field), clip(wrong.Value))
	}
	return fmt.Errorf("not JSON: %w", err)
}

// checkText accepts what may stand in ids, names and versions: some text, of
// bounded length, without control characters.
func checkText(field, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%s is empty or missing", field)
	case len(s) > maxText:
		return fmt.Errorf("%s %q is longer than %d bytes", field, clip(s), maxText)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%s %q has bytes that are no text", field, clip(s))
	}
	return nil
}

// clip keeps hostile input short in messages.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
