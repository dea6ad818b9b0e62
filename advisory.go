package plimsoll

import "time"

// Advisory is one record of a vulnerability database, reduced to what matching
// and reporting need. It follows the OSV schema 1.7 (ossf.github.io/osv-schema);
// other databases are converted to it.
type Advisory struct {
	ID string `json:"id"`
	// Feed that the record came from, such as "osv".
	Feed string `json:"feed"`
	// Aliases are other names of the same vulnerability.
	Aliases []string `json:"aliases,omitempty"`
	// Upstream are the vulnerabilities that a distribution's record is about.
	// Not identity: one advisory may fix many.
	Upstream   []string    `json:"upstream,omitempty"`
	Related    []string    `json:"related,omitempty"`
	Summary    string      `json:"summary,omitempty"`
	Details    string      `json:"details,omitempty"`
	Published  time.Time   `json:"published,omitzero"`
	Modified   time.Time   `json:"modified,omitzero"`
	Withdrawn  time.Time   `json:"withdrawn,omitzero"`
	Severity   []Severity  `json:"severity,omitempty"`
	References []Reference `json:"references,omitempty"`
	Affected   []Affected  `json:"affected,omitempty"`
}

// Severity is one rating: a CVSS vector (CVSS_V2, CVSS_V3, CVSS_V4) or a word
// of the database's own ("Ubuntu": "low"; "GHSA": "MODERATE").
type Severity struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

// Reference is a page about the vulnerability.
type Reference struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

// Affected says which versions of one package are affected: those listed in
// Versions, or inside any of Ranges.
type Affected struct {
	Ecosystem string     `json:"ecosystem"` // with suffix: "Debian:12"
	Package   string     `json:"package"`
	Ranges    []Range    `json:"ranges,omitempty"`
	Versions  []string   `json:"versions,omitempty"`
	Severity  []Severity `json:"severity,omitempty"`
}

// Range is a sequence of events on a version line.
type Range struct {
	Type   string  `json:"type"` // SEMVER or ECOSYSTEM
	Events []Event `json:"events"`
}

// Event is exactly one of: affected from Introduced on ("0" is the
// beginning), no longer from Fixed on, affected up to and including
// LastAffected, not considered from Limit on.
type Event struct {
	Introduced   string `json:"introduced,omitempty"`
	Fixed        string `json:"fixed,omitempty"`
	LastAffected string `json:"lastAffected,omitempty"`
	Limit        string `json:"limit,omitempty"`
}
