package feed

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
)

var now = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// TestRecord reads one record with everything that is used, and some that is
// not, in it.
func TestRecord(t *testing.T) {
	p, err := parseOSV([]byte(`{
		"schema_version": "1.7.3", "id": "GHSA-aaaa-bbbb-cccc", "modified": "2026-01-02T03:04:05.123456789Z", "published": "2025-12-31T00:00:00+01:00",
		"aliases": ["CVE-2026-1"], "upstream": ["CVE-2026-2"], "related": ["CVE-2026-3"],
		"summary": "s", "details": "d", "credits": [{"name": "somebody"}],
		"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
		"references": [{"type": "WEB", "url": "https://example.org/"}],
		"affected": [
			{"ranges": [{"type": "GIT", "repo": "https://example.org/x", "events": [{"introduced": "0"}]}]},
			{"package": {"ecosystem": "PyPI", "name": "Left_Pad", "purl": "pkg:pypi/left-pad"},
			 "ranges": [{"type": "GIT", "events": [{"introduced": "0"}]},
			            {"type": "ECOSYSTEM", "events": [{"fixed": "2"}, {"introduced": "0"}, {"introduced": "3"}, {"last_affected": "4"}, {"limit": "9"}]}],
			 "versions": ["1", "1.1"],
			 "severity": [{"type": "CVSS_V2", "score": "AV:N/AC:L/Au:N/C:P/I:P/A:P"}],
			 "ecosystem_specific": {"urgency": "low**", "anything": [1, 2]},
			 "database_specific": {"informational": "unsound", "last_known_affected_version_range": "<= 1.9"}},
			{"package": {"ecosystem": "npm", "name": "x"}, "database_specific": {"informational": null}}
		],
		"database_specific": {"severity": "MODERATE", "license": "CC0-1.0"}}`), now)
	if err != nil {
		t.Fatal(err)
	}
	want := plimsoll.Advisory{
		ID: "GHSA-aaaa-bbbb-cccc", Feed: "osv",
		Aliases: []string{"CVE-2026-1"}, Upstream: []string{"CVE-2026-2"}, Related: []string{"CVE-2026-3"},
		Summary: "s", Details: "d",
		Modified: time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC), Published: time.Date(2025, 12, 30, 23, 0, 0, 0, time.UTC),
		Severity:   []plimsoll.Severity{{Type: "CVSS_V3", Score: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}, {Type: "GHSA", Score: "MODERATE"}},
		References: []plimsoll.Reference{{Type: "WEB", URL: "https://example.org/"}},
		Affected: []plimsoll.Affected{{
			Ecosystem: "PyPI", Package: "Left_Pad",
			Ranges:   []plimsoll.Range{{Type: "ECOSYSTEM", Events: []plimsoll.Event{{Fixed: "2"}, {Introduced: "0"}, {Introduced: "3"}, {LastAffected: "4"}, {Limit: "9"}}}},
			Versions: []string{"1", "1.1"},
			Severity: []plimsoll.Severity{{Type: "CVSS_V2", Score: "AV:N/AC:L/Au:N/C:P/I:P/A:P"}, {Type: "Debian", Score: "low**"}, {Type: "RustSec", Score: "unsound"}},
		}},
	}
	if diff := cmp.Diff(want, p.advisory); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{noteGit, noteNoPackage, noteGit}, p.notes); diff != "" {
		t.Errorf("notes (-want +got)\n%s", diff)
	}
	if p.licence != "CC0-1.0" {
		t.Errorf("licence %q", p.licence)
	}
}

func TestNotes(t *testing.T) {
	for _, tt := range []struct{ record, want string }{
		{`{"id":"X","modified":"0001-01-01T00:00:00Z"}`, noteNoDate + noteNothing},
		{`{"id":"X"}`, noteNoDate + noteNothing},
		{`{"id":"X","modified":"2027-07-09T00:00:00Z"}`, noteFuture + noteNothing},
		{`{"id":"X","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"npm","name":"x"},"ranges":[{"type":"COSMIC","events":[]}]}]}`, noteRange + noteNothing},
	} {
		p, err := parseOSV([]byte(tt.record), now)
		if err != nil {
			t.Errorf("%s: %v", tt.record, err)
			continue
		}
		if got := strings.Join(p.notes, ""); got != tt.want {
			t.Errorf("%s: notes %q, want %q", tt.record, got, tt.want)
		}
	}
}

func TestRejectedRecord(t *testing.T) {
	affected := func(s string) string { return `{"id":"X","modified":"2026-01-01T00:00:00Z","affected":[` + s + `]}` }
	ranges := func(events string) string {
		return affected(`{"package":{"ecosystem":"npm","name":"x"},"ranges":[{"type":"SEMVER","events":[` + events + `]}]}`)
	}
	long := strings.Repeat("x", maxText+1)
	for _, tt := range []struct{ record, want string }{
		{`{"modified":"2026-01-01T00:00:00Z"}`, "id is empty or missing"},
		{`{"id":""}`, "id is empty or missing"},
		{`{"id":7}`, "id is a JSON number"},
		{`{"id":"a\u0000b"}`, "no text"},
		{`{"id":"` + long + `"}`, "longer than 500 bytes"},
		{`{"id":"X","modified":"yesterday"}`, `modified: "yesterday" is not a time`},
		{`{"id":"X","withdrawn":"2026-13-01T00:00:00Z"}`, "withdrawn: "},
		{`{"id":"X","aliases":[""]}`, "aliases is empty"},
		{`{"id":"X","aliases":"CVE-1"}`, "aliases is a JSON string"},
		{`{"id":"X","affected":{}}`, "affected is a JSON object"},
		{affected(`{"package":{"name":"x"}}`), "affected[0]: package.ecosystem is empty or missing"},
		{affected(`{"package":{"ecosystem":"npm"}}`), "affected[0]: package.name is empty or missing"},
		{affected(`{"package":{"ecosystem":"npm","name":"x"},"versions":["1",""]}`), "versions is empty"},
		{affected(`{"package":{"ecosystem":"npm","name":"x"},"versions":["` + long + `"]}`), "longer than"},
		{ranges(`{}`), "ranges[0].events[0]: 0 of"},
		{ranges(`{"introduced":"0","fixed":"1"}`), "2 of"},
		{ranges(`{"introduced":"0"},{"repaired":"1"}`), "events[1]: 0 of"},
		{ranges(`{"fixed":"1"}`), "no introduced event"},
		{ranges(``), "no introduced event"},
		{ranges(strings.Repeat(`{"introduced":"1"},`, maxEvents) + `{"introduced":"1"}`), "10001 events"},
		{affected(strings.Repeat(`{},`, maxEntries) + `{}`), "50001 affected entries"},
		{`{"id":"X","aliases":[` + strings.Repeat(`"a",`, maxNames) + `"a"]}`, "20001 aliases"},
		{affected(`{"package":{"ecosystem":"npm","name":"x"},"versions":[` + strings.Repeat(`"1",`, maxVersions) + `"1"]}`), "100001 versions"},
		{`{"id":"X","severity":[` + strings.Repeat(`{},`, 100) + `{}]}`, "101 severity ratings"},
		{`{"id":"X","severity":[{"type":"CVSS_V3","score":"` + long + `"}]}`, "severity"},
		{`{"id":"X"}}`, "not JSON"},
		{`{"id":"X"`, "not JSON"},
		{strings.Repeat("[", 100_000), "not a JSON object"},
		{`{"a":` + strings.Repeat("[", 100_000), "not JSON"},
		{" \n", "empty"},
	} {
		p, err := parseOSV([]byte(tt.record), now)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.80s: %v, %v, want an error with %q", tt.record, p, err, tt.want)
		} else if len(err.Error()) > 400 {
			t.Errorf("%.80s: the error is %d bytes long", tt.record, len(err.Error()))
		}
	}
}

// The rating of an update stands at the beginning of its summary, in words:
// ALSA-2022:1065, RLSA-2024:8856.
func TestWords(t *testing.T) {
	for _, tt := range []struct {
		id, summary, database string
		want                  plimsoll.Severity
	}{
		{"ALSA-2022:1065", "Important: openssl security update", "", plimsoll.Severity{Type: "ALSA", Score: "Important"}},
		{"RLSA-2024:8856", "Moderate: kernel security update", "", plimsoll.Severity{Type: "RLSA", Score: "Moderate"}},
		{"ALBA-2019:0987", "new packages: Judy", "", plimsoll.Severity{}},
		{"BIT-activemq-2020-11998", "Critical thing", "Critical", plimsoll.Severity{Type: "BIT", Score: "Critical"}},
		{"GHSA-x", "Low: not a rating", "HIGH", plimsoll.Severity{Type: "GHSA", Score: "HIGH"}},
	} {
		r := osvRecord{ID: tt.id, Summary: tt.summary}
		r.Database.Severity = text(tt.database)
		if got := wordOf(&r); got != tt.want {
			t.Errorf("%s %q: %v, want %v", tt.id, tt.summary, got, tt.want)
		}
	}
}

// TestBound: the upper bound that only last_known_affected_version_range has.
func TestBound(t *testing.T) {
	for _, tt := range []struct {
		lastKnown, events string
		want              plimsoll.Event // the last
		versions          string         // of 1.0 1.2.3 1.3
	}{
		{"<= 1.2.3", `{"introduced":"0"}`, plimsoll.Event{LastAffected: "1.2.3"}, "1.0 1.2.3"},
		{"< 1.2.3", `{"introduced":"0"}`, plimsoll.Event{Limit: "1.2.3"}, "1.0"},
		{"<= 1.2.3", `{"introduced":"0"},{"fixed":"1.3"}`, plimsoll.Event{Fixed: "1.3"}, "1.0 1.2.3 1.3"},
		{"<= 1.2.3", `{"introduced":"0"},{"last_affected":"1.3"}`, plimsoll.Event{LastAffected: "1.3"}, "1.0 1.2.3 1.3"},
		{"around 1.2.3", `{"introduced":"0"}`, plimsoll.Event{Introduced: "0"}, "1.0 1.2.3 1.3"},
		{"<=", `{"introduced":"0"}`, plimsoll.Event{Introduced: "0"}, "1.0 1.2.3 1.3"},
		{"", `{"introduced":"0"}`, plimsoll.Event{Introduced: "0"}, "1.0 1.2.3 1.3"},
	} {
		p, err := parseOSV([]byte(`{"id":"X","affected":[{"package":{"ecosystem":"PyPI","name":"x"},"versions":["1.0","1.2.3","1.3"],`+
			`"ranges":[{"type":"ECOSYSTEM","events":[`+tt.events+`]}],"database_specific":{"last_known_affected_version_range":"`+tt.lastKnown+`"}}]}`), now)
		if err != nil {
			t.Fatal(err)
		}
		a := p.advisory.Affected[0]
		if got := a.Ranges[0].Events[len(a.Ranges[0].Events)-1]; got != tt.want || strings.Join(a.Versions, " ") != tt.versions {
			t.Errorf("%q with %s: %v, versions %v", tt.lastKnown, tt.events, got, a.Versions)
		}
	}
}

func FuzzOSV(f *testing.F) {
	for _, seed := range []string{
		good,
		`{"id":"DEBIAN-CVE-2023-38545","modified":"2025-11-19T02:02:47.521414Z","upstream":["CVE-2023-38545"],"affected":[{"package":{"name":"curl","ecosystem":"Debian:12"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"7.88.1-10+deb12u4"}]}],"versions":["7.88.1-10"],"ecosystem_specific":{"urgency":"not yet assigned"}}],"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}`,
		`{"id":"GHSA-85q9-7467-r53q","modified":"2024-12-08T05:27:35Z","affected":[{"package":{"name":"x","ecosystem":"PyPI"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}],"versions":["0.0.1","0.9.2"],"database_specific":{"last_known_affected_version_range":"< 0.7.3"}}],"database_specific":{"severity":"MODERATE"}}`,
		`{"id":"X","affected":[{"ranges":[{"type":"GIT","repo":"r","events":[{"introduced":"0"}]}]},{"package":null}],"withdrawn":"2026-01-01T00:00:00Z"}`,
		"\xef\xbb\xbf{}", "<html>", "[]", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseOSV(data, now)
		if err != nil {
			return
		}
		if p.advisory.ID == "" || p.advisory.Feed != "osv" {
			t.Errorf("a record without id or feed: %v", p.advisory)
		}
		for _, a := range p.advisory.Affected {
			if a.Ecosystem == "" || a.Package == "" || len(a.Ranges)+len(a.Versions) == 0 {
				t.Errorf("an entry that says nothing: %v", a)
			}
			for _, r := range a.Ranges {
				starts := false
				for _, e := range r.Events {
					if e == (plimsoll.Event{}) {
						t.Errorf("an empty event in %v", r)
					}
					starts = starts || e.Introduced != ""
				}
				if !starts || r.Type == "GIT" {
					t.Errorf("a range that cannot match: %v", r)
				}
			}
		}
	})
}
