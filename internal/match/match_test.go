package match

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/advisory"
)

// dpkg, apk and rpm are packages as their detectors complete them.
func dpkg(ecosystem, name, version, source, sourceVersion string) plimsoll.Component {
	c := plimsoll.Component{PURL: "pkg:deb/debian/" + name + "@" + version, Name: name, Version: version, Ecosystem: ecosystem, Detector: "dpkg"}
	if source != "" {
		c.Source = &plimsoll.SourcePackage{Name: source, Version: sourceVersion}
	}
	return c
}

func apk(ecosystem, name, version, origin string) plimsoll.Component {
	return plimsoll.Component{PURL: "pkg:apk/alpine/" + name + "@" + version, Name: name, Version: version, Ecosystem: ecosystem, Detector: "apk",
		Source: &plimsoll.SourcePackage{Name: origin, Version: version}}
}

func rpm(ecosystem, name, version, source, sourceVersion string) plimsoll.Component {
	return plimsoll.Component{PURL: "pkg:rpm/x/" + name + "@" + version, Name: name, Version: version, Ecosystem: ecosystem, Detector: "rpm",
		Source: &plimsoll.SourcePackage{Name: source, Version: sourceVersion}}
}

// lang is a language package, named by its purl as the detectors do.
func lang(ecosystem, purl, version string) plimsoll.Component {
	name, _, _ := strings.Cut(purl[strings.LastIndexByte(purl, '/')+1:], "@")
	return plimsoll.Component{PURL: purl, Name: name, Version: version, Ecosystem: ecosystem, Detector: "lang"}
}

func bom(components ...plimsoll.Component) *plimsoll.BOM {
	return &plimsoll.BOM{Distro: &plimsoll.Distro{ID: "debian", PrettyName: "Debian GNU/Linux 12 (bookworm)"}, Components: components}
}

func matched(t testing.TB, db *advisory.DB, b *plimsoll.BOM) ([]plimsoll.Finding, []plimsoll.Gap) {
	t.Helper()
	findings, gaps, err := Match(t.Context(), db, b)
	if err != nil {
		t.Fatal(err)
	}
	return findings, gaps
}

// brief is a finding in one line: id, level, score, installed, fixed, the
// advisories that say so, other names.
func brief(f *plimsoll.Finding) string {
	return fmt.Sprintf("%s %s %.1f %s -> %s [%s] (%s)", f.ID, f.Level, f.Score, f.Installed, f.Fixed, strings.Join(f.Advisories, " "), strings.Join(f.Aliases, " "))
}

// TestRecords has a real record of shared/advisories/osv for each rule of
// docs/matching.md. Where only some of the findings of a component matter, the
// others are left out of want, and some says so.
func TestRecords(t *testing.T) {
	db := realDB(t)
	for _, tt := range []struct {
		name      string
		component plimsoll.Component
		some      bool
		want      []string
		not       string // an id that must not be found
	}{
		{
			name:      "Debian: the source package and its version, not the binary's (binNMU)",
			component: dpkg("Debian:12", "libsystemd0", "252.20-1~deb12u1+b1", "systemd", "252.20-1~deb12u1"), some: true,
			want: []string{"CVE-2023-7008 medium 5.9 252.20-1~deb12u1 -> 252.21-1~deb12u1 [DEBIAN-CVE-2023-7008] ()"},
		},
		{
			name:      "Debian: fixed",
			component: dpkg("Debian:12", "systemd", "252.21-1~deb12u1", "", ""), some: true, not: "CVE-2023-7008",
		},
		{
			name:      "Debian: unfixed, and unimportant by Debian's word whatever its CVSS score",
			component: dpkg("Debian:12", "systemd", "252.39-1~deb12u1", "", ""), some: true,
			want: []string{"CVE-2023-31437 negligible 5.3 252.39-1~deb12u1 ->  [DEBIAN-CVE-2023-31437] ()"},
		},
		{
			name:      "Debian: another release",
			component: dpkg("Debian:10", "systemd", "241-7", "", ""), some: true, not: "CVE-2023-31437",
		},
		{
			name:      "Debian: a DSA over two CVEs is folded into their own records",
			component: dpkg("Debian:12", "libcurl4", "7.88.1-10+deb12u3", "curl", "7.88.1-10+deb12u3"), some: true, not: "DSA-5523-1",
			want: []string{
				"CVE-2023-38545 critical 9.8 7.88.1-10+deb12u3 -> 7.88.1-10+deb12u4 [DEBIAN-CVE-2023-38545 DSA-5523-1] ()",
				"CVE-2023-38546 low 3.7 7.88.1-10+deb12u3 -> 7.88.1-10+deb12u4 [DEBIAN-CVE-2023-38546 DSA-5523-1] ()",
			},
		},
		{
			name:      "Debian: a DLA stays, one of whose CVEs (CVE-2020-36309) has no record of its own",
			component: dpkg("Debian:11", "nginx", "1.18.0-6.1+deb11u3", "", ""), some: true,
			want: []string{"DLA-4228-1 unknown 0.0 1.18.0-6.1+deb11u3 -> 1.18.0-6.1+deb11u5 [DLA-4228-1] ()"},
		},
		{
			name:      "Ubuntu: negligible by Ubuntu's word",
			component: dpkg("Ubuntu:22.04:LTS", "libc6", "2.35-0ubuntu3.8", "glibc", "2.35-0ubuntu3.8"),
			want:      []string{"CVE-2016-20013 negligible 7.5 2.35-0ubuntu3.8 ->  [UBUNTU-CVE-2016-20013] ()"},
		},
		{
			name:      "Ubuntu: the fix for everybody, not that of Pro and FIPS",
			component: dpkg("Ubuntu:22.04:LTS", "libssl3", "3.0.2-0ubuntu1.18", "openssl", "3.0.2-0ubuntu1.18"), some: true,
			want: []string{"CVE-2025-9230 high 7.5 3.0.2-0ubuntu1.18 -> 3.0.2-0ubuntu1.20 [UBUNTU-CVE-2025-9230] ()"},
		},
		{
			name:      "Ubuntu: notices about live patches are not about images",
			component: dpkg("Ubuntu:Pro:22.04:LTS", "linux", "5.15.0-1.1", "", ""), some: true, not: "LSN-0099-1",
		},
		{
			name:      "Alpine: the origin, and a record with no upstream is known by its id",
			component: apk("Alpine:v3.23", "libssl3", "3.5.4-r0", "openssl"), some: true,
			want: []string{"CVE-2025-15468 unknown 0.0 3.5.4-r0 -> 3.5.5-r0 [ALPINE-CVE-2025-15468] ()"},
		},
		{
			name:      "Wolfi: a record that names one CVE and its GHSA",
			component: apk("Wolfi", "haproxy-3.0", "3.0.9-r0", "haproxy-3.0"), some: true,
			want: []string{"CVE-2025-32464 critical 9.1 3.0.9-r0 -> 3.0.10-r0 [CGA-224q-ccj5-2p53] ()"},
		},
		{
			name:      "AlmaLinux: the binary package; the rating from the summary; one related CVE is the id, several are not",
			component: rpm("AlmaLinux:9", "openssl-libs", "1:3.0.1-41.el9_0", "openssl", "3.0.1-41.el9_0"), some: true,
			want: []string{
				"ALSA-2022:7288 high 0.0 1:3.0.1-41.el9_0 -> 1:3.0.1-43.el9_0 [ALSA-2022:7288] ()",
				"CVE-2022-3358 low 0.0 1:3.0.1-41.el9_0 -> 1:3.0.7-6.el9_2 [ALSA-2023:2523] ()",
			},
			not: "ALSA-2022:6224", // fixed in just this version
		},
		{
			name:      "AlmaLinux: an update without a CVE repairs no vulnerability",
			component: rpm("AlmaLinux:8", "python3-rpm-macros", "3-40.el8", "python-rpm-macros", "3-40.el8"),
			not:       "ALEA-2021:1923",
		},
		{
			name:      "AlmaLinux: a bug fix that names a CVE does",
			component: rpm("AlmaLinux:8", "python3-requests", "2.20.0-1.el8", "python-requests", "2.20.0-1.el8"), some: true,
			want: []string{"CVE-2018-18074 unknown 0.0 2.20.0-1.el8 -> 2.20.0-2.1.el8_1 [ALBA-2019:3693] ()"},
		},
		{
			name:      "Rocky Linux: the records name source packages, whose epoch the binary knows",
			component: rpm("Rocky Linux:9", "openssl-libs", "1:3.0.7-24.el9", "openssl", "3.0.7-24.el9"),
			want: []string{
				"CVE-2024-12797 high 7.4 1:3.0.7-24.el9 -> 1:3.2.2-6.el9_5.1 [RLSA-2025:1330] ()",
				"CVE-2024-6119 medium 0.0 1:3.0.7-24.el9 -> 1:3.0.7-28.el9_4 [RLSA-2024:6783] ()",
				"CVE-2025-9230 medium 5.6 1:3.0.7-24.el9 -> 1:3.5.1-4.el9_7 [RLSA-2025:21255] ()",
				"RLSA-2024:9333 low 0.0 1:3.0.7-24.el9 -> 1:3.2.2-6.el9_5.1 [RLSA-2024:9333] ()",
			},
		},
		{
			name:      "PyPI: two databases, one finding, any spelling of the name",
			component: lang("PyPI", "pkg:pypi/Python_Multipart@0.0.6", "0.0.6"), some: true,
			want: []string{"CVE-2024-24762 high 7.5 0.0.6 -> 0.0.7 [GHSA-2jv5-9r88-3w3p PYSEC-2026-1850] (GHSA-2jv5-9r88-3w3p PYSEC-2026-1850)"},
		},
		{
			name:      "PyPI: several pairs in one range",
			component: lang("PyPI", "pkg:pypi/django@4.1.8", "4.1.8"), some: true,
			want: []string{"CVE-2023-31047 unknown 0.0 4.1.8 -> 4.1.9 [PYSEC-2023-61] (GHSA-r3xc-prgr-mg9p PYSEC-2023-61)"},
		},
		{
			name:      "PyPI: withdrawn",
			component: lang("PyPI", "pkg:pypi/aioxmpp@0.10.2", "0.10.2"), some: true, not: "GHSA-32f7-cmr3-vpjv",
		},
		{
			name:      "PyPI: the last affected version is affected, and no fix is known",
			component: lang("PyPI", "pkg:pypi/mezzanine@6.0.0", "6.0.0"), some: true,
			want: []string{"CVE-2024-25170 medium 0.0 6.0.0 ->  [GHSA-22cc-w7xm-rfhx PYSEC-2026-1626] (GHSA-22cc-w7xm-rfhx PYSEC-2026-1626)"},
		},
		{
			name:      "npm: malicious, by a list of versions",
			component: lang("npm", "pkg:npm/jsonapptoken@2.3.8", "2.3.8"),
			want:      []string{"MAL-2025-192808 critical 0.0 2.3.8 ->  [MAL-2025-192808] ()"},
		},
		{
			name:      "npm: malicious, every version",
			component: lang("npm", "pkg:npm/flipper-plugin-core@99.1.0", "99.1.0"),
			want:      []string{"MAL-2022-3075 critical 0.0 99.1.0 ->  [MAL-2022-3075] (GHSA-c746-64gq-qrmv)"},
		},
		{
			name:      "npm: a scope; two entries for two lines",
			component: lang("npm", "pkg:npm/%40fastify/passport@2.2.0", "2.2.0"), some: true,
			want: []string{"CVE-2023-29020 medium 6.5 2.2.0 -> 2.3.0 [GHSA-2ccf-ffrj-m4qw] (GHSA-2ccf-ffrj-m4qw)"},
		},
		{
			name:      "npm: the upper bound that only last_known_affected_version_range has",
			component: lang("npm", "pkg:npm/vue-template-compiler@2.7.16", "2.7.16"),
			want:      []string{"CVE-2024-6783 medium 4.2 2.7.16 ->  [GHSA-g3ch-rx76-35fx] (GHSA-g3ch-rx76-35fx)"},
		},
		{
			name:      "npm: above that bound",
			component: lang("npm", "pkg:npm/vue-template-compiler@3.0.0", "3.0.0"),
		},
		{
			name:      "Maven: group and artifact",
			component: lang("Maven", "pkg:maven/log4j/log4j@1.2.17", "1.2.17"), some: true,
			want: []string{"CVE-2019-17571 critical 9.8 1.2.17 ->  [GHSA-2qrg-x229-3v8q] (GHSA-2qrg-x229-3v8q)"},
		},
		{
			name:      "Go: the standard library",
			component: lang("Go", "pkg:golang/stdlib@1.15.4", "1.15.4"), some: true,
			want: []string{"CVE-2020-28362 unknown 0.0 1.15.4 -> 1.15.5 [GO-2021-0069] (GO-2021-0069)"},
		},
		{
			name:      "Go: a module, whose version has a v, by two databases that differ on the fix (2.1.5 and 2.2.2)",
			component: lang("Go", "pkg:golang/github.com/CosmWasm/wasmvm/v2@v2.1.4", "v2.1.4"), some: true,
			want: []string{"GHSA-23qp-3c2m-xx6w medium 0.0 2.1.4 -> 2.2.2 [GHSA-23qp-3c2m-xx6w GO-2025-3448] (GO-2025-3448)"},
		},
		{
			name:      "crates.io: unmaintained is negligible",
			component: lang("crates.io", "pkg:cargo/serial@0.4.0", "0.4.0"),
			want:      []string{"RUSTSEC-2017-0008 negligible 0.0 0.4.0 ->  [RUSTSEC-2017-0008] ()"},
		},
		{
			name:      "crates.io: unsound, but rated",
			component: lang("crates.io", "pkg:cargo/memoffset@0.4.0", "0.4.0"),
			want: []string{
				"CVE-2019-15553 high 7.5 0.4.0 -> 0.5.0 [GHSA-rh89-x75f-rh3c RUSTSEC-2019-0011] (GHSA-rh89-x75f-rh3c RUSTSEC-2019-0011)",
				"GHSA-wfg4-322g-9vqv medium 0.0 0.4.0 -> 0.6.2 [GHSA-wfg4-322g-9vqv RUSTSEC-2023-0045] (RUSTSEC-2023-0045)",
			},
		},
		{
			name:      "Bitnami: the rating of the affected package",
			component: lang("Bitnami", "pkg:bitnami/activemq@5.15.12", "5.15.12"), some: true,
			want: []string{"CVE-2020-11998 critical 9.8 5.15.12 ->  [BIT-activemq-2020-11998] (BIT-activemq-2020-11998)"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			findings, gaps := matched(t, db, bom(tt.component))
			if len(gaps) > 0 {
				t.Errorf("gaps: %v", gaps)
			}
			got := map[string]bool{}
			var all []string
			for i := range findings {
				line := brief(&findings[i])
				got[line] = true
				all = append(all, line)
				if tt.not != "" && (findings[i].ID == tt.not) {
					t.Errorf("%s was found", tt.not)
				}
			}
			for _, line := range tt.want {
				if !got[line] {
					t.Errorf("not found: %s", line)
				}
			}
			if t.Failed() || !tt.some && len(all) != len(tt.want) {
				t.Errorf("found:\n%s", strings.Join(all, "\n"))
			}
		})
	}
}

// made is a file of made-up advisories.
func made(t testing.TB, advisories ...plimsoll.Advisory) *advisory.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "advisories.db")
	b, err := advisory.Create(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range advisories {
		advisories[i].Feed = "osv"
		if _, err := b.Add(t.Context(), &advisories[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	db, err := advisory.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// says makes an advisory about all versions of a package below fixed.
func says(id, ecosystem, pkg, fixed string, aliases ...string) plimsoll.Advisory {
	events := []plimsoll.Event{introduced("0")}
	if fixed != "" {
		events = append(events, fixedIn(fixed))
	}
	return plimsoll.Advisory{ID: id, Aliases: aliases, Affected: []plimsoll.Affected{{Ecosystem: ecosystem, Package: pkg, Ranges: ranges("ECOSYSTEM", events...)}}}
}

func briefs(findings []plimsoll.Finding) []string {
	var all []string
	for i := range findings {
		all = append(all, brief(&findings[i]))
	}
	return all
}

// TestJoin: which advisories become one finding.
func TestJoin(t *testing.T) {
	upstream := func(a plimsoll.Advisory, ids ...string) plimsoll.Advisory { a.Upstream = ids; return a }
	related := func(a plimsoll.Advisory, ids ...string) plimsoll.Advisory { a.Related = ids; return a }
	npm, deb := lang("npm", "pkg:npm/p@1.0.0", "1.0.0"), dpkg("Debian:12", "p", "1.0.0", "", "")
	for _, tt := range []struct {
		name       string
		component  plimsoll.Component
		advisories []plimsoll.Advisory
		want       []string
	}{
		{"nothing in common", npm,
			[]plimsoll.Advisory{says("A-1", "npm", "p", "2.0.0"), says("A-2", "npm", "p", "3.0.0")},
			[]string{"A-1 unknown 0.0 1.0.0 -> 2.0.0 [A-1] ()", "A-2 unknown 0.0 1.0.0 -> 3.0.0 [A-2] ()"}},
		{"one names the other; all agree from the later fix on", npm,
			[]plimsoll.Advisory{says("A-1", "npm", "p", "2.0.0"), says("A-2", "npm", "p", "10.0.0", "A-1")},
			[]string{"A-1 unknown 0.0 1.0.0 -> 10.0.0 [A-1 A-2] (A-2)"}},
		{"a common alias that is not in the file", npm,
			[]plimsoll.Advisory{says("A-1", "npm", "p", "2.0.0", "CVE-2026-1000"), says("A-2", "npm", "p", "", "CVE-2026-1000")},
			[]string{"CVE-2026-1000 unknown 0.0 1.0.0 -> 2.0.0 [A-1 A-2] (A-1 A-2)"}},
		{"a third joins two", npm,
			[]plimsoll.Advisory{says("A-1", "npm", "p", "2.0.0", "X-1"), says("A-2", "npm", "p", "2.0.0", "X-2"), says("A-3", "npm", "p", "2.0.0", "X-2", "X-1")},
			[]string{"A-1 unknown 0.0 1.0.0 -> 2.0.0 [A-1 A-2 A-3] (A-2 A-3 X-1 X-2)"}},
		{"several CVEs: the lowest number", npm,
			[]plimsoll.Advisory{says("A-1", "npm", "p", "2.0.0", "CVE-2026-10000", "CVE-2026-9999")},
			[]string{"CVE-2026-9999 unknown 0.0 1.0.0 -> 2.0.0 [A-1] (A-1 CVE-2026-10000)"}},
		{"upstream and related are no identity", npm,
			[]plimsoll.Advisory{upstream(says("A-1", "npm", "p", "2.0.0"), "CVE-2026-1000"), related(says("A-2", "npm", "p", "2.0.0"), "CVE-2026-1000")},
			[]string{"A-1 unknown 0.0 1.0.0 -> 2.0.0 [A-1] ()", "A-2 unknown 0.0 1.0.0 -> 2.0.0 [A-2] ()"}},
		{"a distribution's advisory about one CVE", deb,
			[]plimsoll.Advisory{upstream(says("DSA-1", "Debian:12", "p", "2.0"), "CVE-2026-1000"), says("DEBIAN-CVE-2026-1000", "Debian:12", "p", "2.0")},
			[]string{"CVE-2026-1000 unknown 0.0 1.0.0 -> 2.0 [DEBIAN-CVE-2026-1000 DSA-1] ()"}},
		{"a collective advisory, of which one CVE has no record", deb,
			[]plimsoll.Advisory{upstream(says("DSA-1", "Debian:12", "p", "2.0"), "CVE-2026-1000", "CVE-2026-1001"), says("DEBIAN-CVE-2026-1000", "Debian:12", "p", "2.0")},
			[]string{"CVE-2026-1000 unknown 0.0 1.0.0 -> 2.0 [DEBIAN-CVE-2026-1000] ()", "DSA-1 unknown 0.0 1.0.0 -> 2.0 [DSA-1] ()"}},
		{"a collective advisory, all of whose CVEs have records", deb,
			[]plimsoll.Advisory{related(says("DSA-1", "Debian:12", "p", "2.0"), "CVE-2026-1000", "DEBIAN-CVE-2026-1001"),
				says("DEBIAN-CVE-2026-1000", "Debian:12", "p", "2.0"), says("DEBIAN-CVE-2026-1001", "Debian:12", "p", "1.9")},
			[]string{"CVE-2026-1000 unknown 0.0 1.0.0 -> 2.0 [DEBIAN-CVE-2026-1000 DSA-1] ()", "CVE-2026-1001 unknown 0.0 1.0.0 -> 2.0 [DEBIAN-CVE-2026-1001 DSA-1] ()"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			findings, _ := matched(t, made(t, tt.advisories...), bom(tt.component))
			if diff := cmp.Diff(tt.want, briefs(findings)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestCVEOf(t *testing.T) {
	for id, want := range map[string]string{
		"CVE-2024-1000": "CVE-2024-1000", "CVE-2024-1234567": "CVE-2024-1234567",
		"DEBIAN-CVE-2024-1000": "CVE-2024-1000", "UBUNTU-CVE-2024-1000": "CVE-2024-1000", "ALPINE-CVE-2024-1000": "CVE-2024-1000",
		"CVE-2024-100": "", "CVE-24-1000": "", "CVE-2024-10x0": "", "CVE-2024-1000-1": "", "CVE-????-?????": "", "CVE_2019-2426": "", "CVE-46838": "",
		"GHSA-cve-2024-1000": "", "xCVE-2024-1000": "", "BIT-x-CVE-2024-1000": "", "DSA-5523-1": "", "": "",
	} {
		if got := cveOf(id); got != want {
			t.Errorf("cveOf(%q) = %q, want %q", id, got, want)
		}
	}
}

// TestFinding: what a finding takes over from component and advisory.
func TestFinding(t *testing.T) {
	adv := says("GHSA-1", "npm", "p", "2.0.0", "CVE-2026-1000")
	adv.Details = "\nA line\twith \x1b[31mcolour.\nAnother."
	adv.References = []plimsoll.Reference{{Type: "WEB", URL: "https://example.org/web"}, {Type: "ADVISORY", URL: "javascript:alert(1)"}, {Type: "ADVISORY", URL: "https://example.org/advisory"}}
	adv.Severity = []plimsoll.Severity{{Type: "CVSS_V3", Score: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"}}
	c := lang("npm", "pkg:npm/p@1.0.0", "1.0.0")
	c.Paths, c.Layer, c.DiffID, c.Step = []string{"app/node_modules/p/package.json"}, 2, "sha256:aa", "RUN npm install"
	findings, gaps := matched(t, made(t, adv), bom(c))
	want := []plimsoll.Finding{{
		ID: "CVE-2026-1000", Aliases: []string{"GHSA-1"}, Advisories: []string{"GHSA-1"},
		Level: plimsoll.High, Score: 7.5, Vector: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H",
		Summary: "A line with [31mcolour.", Fixed: "2.0.0", URL: "https://example.org/advisory",
		PURL: c.PURL, Package: "p", Installed: "1.0.0", Paths: c.Paths, Layer: 2, DiffID: "sha256:aa", Step: "RUN npm install",
	}}
	if diff := cmp.Diff(want, findings); diff != "" || gaps != nil {
		t.Errorf("gaps %v, findings (-want +got)\n%s", gaps, diff)
	}
}

// Findings come by level, id, purl; the order of the bill does not matter.
func TestOrder(t *testing.T) {
	rated := func(a plimsoll.Advisory, word string) plimsoll.Advisory {
		a.Severity = []plimsoll.Severity{{Type: "GHSA", Score: word}}
		return a
	}
	db := made(t, rated(says("B", "npm", "p", ""), "LOW"), rated(says("A", "npm", "p", ""), "LOW"), rated(says("C", "npm", "q", ""), "CRITICAL"), says("D", "npm", "q", ""))
	p1, p2, q := lang("npm", "pkg:npm/p@1.0.0", "1.0.0"), lang("npm", "pkg:npm/p@2.0.0", "2.0.0"), lang("npm", "pkg:npm/q@1.0.0", "1.0.0")
	want := "C pkg:npm/q@1.0.0, A pkg:npm/p@1.0.0, A pkg:npm/p@2.0.0, B pkg:npm/p@1.0.0, B pkg:npm/p@2.0.0, D pkg:npm/q@1.0.0"
	for _, b := range []*plimsoll.BOM{bom(p1, p2, q), bom(q, p2, p1)} {
		findings, _ := matched(t, db, b)
		var got []string
		for _, f := range findings {
			got = append(got, f.ID+" "+f.PURL)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%v", got)
		}
	}
}

// TestOwner: files of a distribution's package are the distribution's affair,
// where there are advisories for it.
func TestOwner(t *testing.T) {
	owner := dpkg("Debian:12", "python3-requests", "2.28.1+dfsg-1", "requests", "2.28.1+dfsg-1")
	owned := lang("PyPI", "pkg:pypi/requests@2.28.1", "2.28.1")
	owned.Owner = owner.PURL
	upstream, debian := says("PYSEC-1", "PyPI", "requests", "2.31.0"), says("DEBIAN-CVE-2026-1000", "Debian:12", "other", "")
	if findings, gaps := matched(t, made(t, upstream, debian), bom(owner, owned)); findings != nil || gaps != nil {
		t.Errorf("with advisories for Debian: %v, %v", briefs(findings), gaps)
	}
	findings, gaps := matched(t, made(t, upstream), bom(owner, owned))
	if len(findings) != 1 || findings[0].ID != "PYSEC-1" || len(gaps) != 1 {
		t.Errorf("without advisories for Debian: %v, %v", briefs(findings), gaps)
	}
}

func TestGaps(t *testing.T) {
	db := made(t, says("A", "npm", "p", ""), says("B", "Go", "example.com/m", "1.0.0"), says("C", "Debian:12", "p", "2.0"), says("D", "Packagist", "a/b", ""),
		says("E", "CRAN", "r", "2.0"))
	for _, tt := range []struct {
		name       string
		components []plimsoll.Component
		noDistro   bool
		want       []string
	}{
		{name: "all compared", components: []plimsoll.Component{lang("npm", "pkg:npm/q@1.0.0", "1.0.0"), dpkg("Debian:12", "q", "1", "", "")}},
		{name: "a release that no feed covers", components: []plimsoll.Component{dpkg("Debian:13", "q", "1", "", ""), dpkg("Debian:13", "r", "2", "", "")},
			want: []string{"no advisories for Debian:13 in the advisory file: 2 components not compared (q 1, r 2)"}},
		{name: "languages that no feed covers", components: []plimsoll.Component{lang("RubyGems", "pkg:gem/a@1", "1"), lang("Maven", "pkg:maven/a/b@1", "1")},
			want: []string{"no advisories for Maven in the advisory file: 1 component not compared (b 1)", "no advisories for RubyGems in the advisory file: 1 component not compared (a 1)"}},
		{name: "no distribution", components: []plimsoll.Component{dpkg("", "q", "1", "", "")}, noDistro: true,
			want: []string{"packages of an unknown distribution: the image does not say which it is: 1 component not compared (q 1)"}},
		{name: "a distribution without advisories", components: []plimsoll.Component{dpkg("", "q", "1", "", "")},
			want: []string{"no advisories are known for Debian GNU/Linux 12 (bookworm) and its deb packages: 1 component not compared (q 1)"}},
		{name: "a kind without advisories", components: []plimsoll.Component{lang("", "pkg:generic/thing@1", "1")},
			want: []string{"no advisories are known for components of the kind pkg:generic: 1 component not compared (thing 1)"}},
		{name: "no version", components: []plimsoll.Component{lang("npm", "pkg:npm/a", ""), lang("npm", "pkg:npm/b", "latest"), lang("npm", "pkg:npm/c", ""), lang("npm", "pkg:npm/d", ""),
			lang("Go", "pkg:golang/example.com/m", "(devel)"), lang("Go", "pkg:golang/example.com/m", "9fceb02d0ae598e95dc970b74767f19372d61af8+dirty"), lang("Packagist", "pkg:composer/a/b", "dev-2.x")},
			want: []string{
				"without a version that Go advisories can be compared with: 2 components not compared (m (devel), m 9fceb02d0ae598e95dc970b74767f19372d61af8+dirty)",
				"without a version that Packagist advisories can be compared with: 1 component not compared (b dev-2.x)",
				"without a version that npm advisories can be compared with: 4 components not compared (a, b latest, c, …)",
			}},
		{name: "a version that has no place in the order", components: []plimsoll.Component{lang("CRAN", "pkg:cran/r@1.x", "1.x")},
			want: []string{"versions that the order of CRAN versions has no place for: 1 component not compared (r 1.x against E)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bom(tt.components...)
			if tt.noDistro {
				b.Distro = nil
			}
			findings, gaps := matched(t, db, b)
			if findings != nil {
				t.Errorf("findings: %v", briefs(findings))
			}
			var got []string
			for _, g := range gaps {
				got = append(got, g.Reason)
				if g.Kind != plimsoll.Unassessed || g.Layer != plimsoll.NoLayer {
					t.Errorf("%+v", g)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestRate(t *testing.T) {
	const v2, v3high, v3low, v4 = "AV:N/AC:L/Au:N/C:P/I:P/A:P", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "CVSS:3.0/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N",
		"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:L/SC:N/SI:N/SA:N"
	for _, tt := range []struct {
		ratings string // type=score, comma separated
		level   plimsoll.Level
		score   float64
	}{
		{"", plimsoll.Unknown, 0},
		{"CVSS_V2=" + v2, plimsoll.High, 7.5},
		{"CVSS_V3=" + v3high, plimsoll.Critical, 9.8},
		{"CVSS_V3=" + v3low, plimsoll.Low, 1.8},
		{"CVSS_V4=" + v4, plimsoll.Medium, 6.9},
		{"CVSS_V2=" + v2 + ",CVSS_V3=" + v3low, plimsoll.Low, 1.8},
		{"CVSS_V4=" + v4 + ",CVSS_V3=" + v3high, plimsoll.Medium, 6.9},
		{"CVSS_V3=" + v3low + ",CVSS_V3=" + v3high, plimsoll.Critical, 9.8},
		{"CVSS_V3=CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", plimsoll.Negligible, 0},
		{"CVSS_V3=rubbish", plimsoll.Unknown, 0},
		{"CVSS_V3=rubbish,GHSA=MODERATE", plimsoll.Medium, 0},
		{"GHSA=MODERATE", plimsoll.Medium, 0},
		{"GHSA=LOW,BIT=Critical", plimsoll.Critical, 0},
		{"ALSA=Important", plimsoll.High, 0},
		{"GHSA=LOW,CVSS_V3=" + v3high, plimsoll.Critical, 9.8},
		{"Debian=not yet assigned", plimsoll.Unknown, 0},
		{"Debian=high**", plimsoll.High, 0},
		{"Debian=end-of-life", plimsoll.Unknown, 0},
		{"Debian=unimportant,CVSS_V3=" + v3high, plimsoll.Negligible, 9.8},
		{"Ubuntu=negligible,CVSS_V3=" + v3high, plimsoll.Negligible, 9.8},
		{"Ubuntu=low,CVSS_V3=" + v3high, plimsoll.Critical, 9.8},
		{"RustSec=unmaintained", plimsoll.Negligible, 0},
		{"RustSec=unsound,GHSA=HIGH", plimsoll.High, 0},
		{"BIT=None", plimsoll.Negligible, 0},
		{"BIT=Unknown", plimsoll.Unknown, 0},
	} {
		var ratings []plimsoll.Severity
		for field := range strings.SplitSeq(tt.ratings, ",") {
			if kind, score, ok := strings.Cut(field, "="); ok {
				ratings = append(ratings, plimsoll.Severity{Type: kind, Score: score})
			}
		}
		got := rate(ratings)
		if got.level != tt.level || got.score != tt.score {
			t.Errorf("%s: %s %.1f, want %s %.1f", tt.ratings, got.level, got.score, tt.level, tt.score)
		}
		if (got.vector != "") != (got.score > 0 || strings.Contains(tt.ratings, "A:N")) && got.score > 0 {
			t.Errorf("%s: vector %q with score %.1f", tt.ratings, got.vector, got.score)
		}
	}
}

// BenchmarkMatch compares a bill of 600 components, all of them packages that
// the file knows: see bigBOM.
func BenchmarkMatch(b *testing.B) {
	db := realDB(b)
	bill := bigBOM(b, 200)
	findings := 0
	start := time.Now()
	n := 0
	for b.Loop() {
		list, _ := matched(b, db, bill)
		findings = len(list)
		n++
	}
	b.ReportMetric(float64(findings), "findings")
	b.ReportMetric(float64(n*len(bill.Components))/time.Since(start).Seconds(), "components/s")
}

// bigBOM has n components each of PyPI, npm and AlmaLinux 9 that the file knows
// something about: a third at a version older than everything, the others newer.
func bigBOM(b *testing.B, n int) *plimsoll.BOM {
	b.Helper()
	raw, err := sql.Open("sqlite", "file:"+imported+"?mode=ro&immutable=1")
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	bill := bom()
	add := func(ecosystem string) {
		rows, err := raw.Query("SELECT name FROM package WHERE ecosystem = ? ORDER BY name LIMIT ?", ecosystem, n)
		if err != nil {
			b.Fatal(err)
		}
		defer rows.Close()
		for i := 0; rows.Next(); i++ {
			var name string
			if err := rows.Scan(&name); err != nil {
				b.Fatal(err)
			}
			version := "9999.0.0"
			if i%3 == 0 {
				version = "0.0.1"
			}
			c := plimsoll.Component{PURL: "pkg:generic/" + name, Name: name, Version: version, Ecosystem: ecosystem}
			if ecosystem == "AlmaLinux:9" {
				c.Detector = "rpm"
			}
			bill.Components = append(bill.Components, c)
		}
		if err := rows.Err(); err != nil {
			b.Fatal(err)
		}
	}
	for _, ecosystem := range []string{"PyPI", "npm", "AlmaLinux:9"} {
		add(ecosystem)
	}
	return bill
}

// A jar that tells its artifact but not its group cannot be looked up, and is
// not said to be clean.
func TestMavenWithoutGroup(t *testing.T) {
	db := made(t, says("TEST-1", "Maven", "com.google.inject:guice", "5.0.0"))
	findings, gaps := matched(t, db, bom(lang("Maven", "pkg:maven/guice@4.2.3", "4.2.3")))
	if len(findings) != 0 || len(gaps) != 1 || !strings.Contains(gaps[0].Reason, "without the group") {
		t.Errorf("findings %v, gaps %v", findings, gaps)
	}
}
