package testenv

import (
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A schema that takes anything would let every other test pass.
func TestSchemaRefuses(t *testing.T) {
	for name, docs := range map[string]map[string]bool{
		"cyclonedx-1.6": {
			`{"bomFormat":"CycloneDX","specVersion":"1.6"}`:                                      true,
			`{"specVersion":"1.6"}`:                                                              false,
			`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library"}]}`:    false,
			`{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"timestamp":"yesterday"}}`: false,
			`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"a","licenses":[{"license":{"id":"no such"}}]}]}`:   false,
			`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"a","licenses":[{"license":{"name":"no such"}}]}]}`: true,
		},
		"spdx-2.3": {
			`{"SPDXID":"SPDXRef-DOCUMENT","creationInfo":{"created":"2026-01-01T00:00:00Z","creators":["Tool: x"]},"dataLicense":"CC0-1.0","name":"x","spdxVersion":"SPDX-2.3","documentNamespace":"https://example.com/x"}`:                    true,
			`{"SPDXID":"SPDXRef-DOCUMENT","creationInfo":{"created":"2026-01-01T00:00:00Z","creators":[]},"dataLicense":"CC0-1.0","name":"x","spdxVersion":"SPDX-2.3","documentNamespace":"https://example.com/x"}`:                             false,
			`{"SPDXID":"SPDXRef-DOCUMENT","creationInfo":{"created":"2026-01-01T00:00:00Z","creators":["Tool: x"]},"dataLicense":"CC0-1.0","name":"x","spdxVersion":"SPDX-2.3","documentNamespace":"https://example.com/x","packages":[{}]}`:    false,
			`{"SPDXID":"SPDXRef-DOCUMENT","creationInfo":{"created":"2026-01-01T00:00:00Z","creators":["Tool: x"]},"dataLicense":"CC0-1.0","name":"x","spdxVersion":"SPDX-2.3","documentNamespace":"https://example.com/x","unknown":"member"}`: false,
		},
	} {
		schema := Schema(t, name)
		for text, want := range docs {
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); (err == nil) != want {
				t.Errorf("%s: %s: valid %v, want %v (%v)", name, text, err == nil, want, err)
			}
		}
	}
}
