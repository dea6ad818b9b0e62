package langpkg_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll/plimsoll/internal/detect/langpkg"
)

// published has the form that `dotnet publish --self-contained` gives; the .NET
// SDK is not used here, since it has to be fetched.
const published = "\ufeff" + `{
  "runtimeTarget": {"name": ".NETCoreApp,Version=v8.0/linux-x64", "signature": ""},
  "compilationOptions": {},
  "targets": {
    ".NETCoreApp,Version=v8.0": {},
    ".NETCoreApp,Version=v8.0/linux-x64": {
      "App/1.0.0": {"dependencies": {"Newtonsoft.Json": "13.0.1"}, "runtime": {"App.dll": {}}},
      "Newtonsoft.Json/13.0.1": {"runtime": {"lib/netstandard2.0/Newtonsoft.Json.dll": {"assemblyVersion": "13.0.0.0"}}}
    }
  },
  "libraries": {
    "App/1.0.0": {"type": "project", "serviceable": false, "sha512": ""},
    "runtimepack.Microsoft.NETCore.App.Runtime.linux-x64/8.0.4": {"type": "runtimepack", "serviceable": false, "sha512": ""},
    "Newtonsoft.Json/13.0.1": {"type": "package", "serviceable": true, "sha512": "sha512-x", "path": "newtonsoft.json/13.0.1", "hashPath": "newtonsoft.json.13.0.1.nupkg.sha512"},
    "System.Text.Json/8.0.0-preview.1+build": {"type": "package"},
    "Direct.Reference/1.0.0.0": {"type": "reference", "serviceable": false, "sha512": ""}
  }
}`

func TestDotNet(t *testing.T) {
	found := mustDetect(t, langpkg.DotNet{}, "app/App.deps.json", []byte(published))
	var got []string
	for _, c := range found.Components {
		got = append(got, string(c.Type)+" "+c.Name+" "+c.PURL)
	}
	want := []string{
		"application App pkg:nuget/App@1.0.0",
		"library Microsoft.NETCore.App.Runtime.linux-x64 pkg:nuget/Microsoft.NETCore.App.Runtime.linux-x64@8.0.4",
		"library Newtonsoft.Json pkg:nuget/Newtonsoft.Json@13.0.1",
		"library System.Text.Json pkg:nuget/System.Text.Json@8.0.0-preview.1%2Bbuild",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(found.Gaps) > 0 {
		t.Errorf("gaps: %v", found.Gaps)
	}
}

func TestDotNetTrouble(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                     "error read deps.json: no libraries in it",
		`{"libraries":[]}`:                       "error read deps.json",
		published[:len(published)-40]:            "gap unreadable app/App.deps.json: read deps.json",
		`{"libraries":{"a":{"type":"package"}}}`: `gap unreadable app/App.deps.json: a library that is not named NAME/VERSION: "a"`,
		`{"libraries":{"a/1":{"type":"package"}},}`:   "gap unreadable",
		`{"libraries":{"a/1":"package"}}`:             "error read deps.json",
		`{"libraries":{"a/1":{"type":{"b":"c"}}}}`:    "",
		`{"libraries":{"a/1":{"Type":"package"}}}`:    "",
		`{"targets":{},"libraries":{}}` + "\n \r\n\t": "",
	} {
		found, err := detect(langpkg.DotNet{}, "app/App.deps.json", []byte(text))
		check(t, found)
		found.Components = nil
		got := strings.Join(lines(found), "\n")
		if err != nil {
			got = "error " + err.Error()
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%.60s: got %q, want %q", text, got, want)
		}
	}
}

func FuzzDotNet(f *testing.F) {
	f.Add([]byte(published))
	fuzz(f, langpkg.DotNet{}, "app/App.deps.json")
}
