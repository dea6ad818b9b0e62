package plimsoll

import "time"

// Result is what a scan says of one image.
type Result struct {
	BOM
	// Findings, the worst first.
	Findings []Finding `json:"findings"`
	// Feeds that the findings rest on.
	Feeds []Feed `json:"feeds,omitempty"`
}

// Feed is one source of advisories, as it stands in the advisory file.
type Feed struct {
	Name string `json:"name"`
	// Source is the file that was imported.
	Source   string    `json:"source,omitempty"`
	Imported time.Time `json:"imported,omitzero"`
	// Newest is the latest modification time of its records.
	Newest  time.Time `json:"newest,omitzero"`
	Records int       `json:"records"`
}
