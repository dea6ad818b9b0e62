package version

import "testing"

func FuzzCompare(f *testing.F) {
	for _, s := range []string{"1:2.36-9+deb12u7", "1.2.3-r0", "1.0.0-rc.1+incompatible", "1!2.0.post1.dev3+local", "32.0.0-jre", "v1.0-RC1", "0:1.1^git~2-3.el9"} {
		f.Add(s, "1.0.0")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, ecosystem := range representatives {
			v, err := Parse(ecosystem, a)
			if err != nil {
				continue
			}
			w, err := Parse(ecosystem, b)
			if err != nil {
				continue
			}
			there, err := v.Compare(w)
			if err != nil {
				continue
			}
			if back, err := w.Compare(v); err != nil || there != -back {
				t.Errorf("%s: Compare(%q, %q) = %d, turned round %d, %v", ecosystem, a, b, there, back, err)
			}
		}
	})
}

func BenchmarkCompare(b *testing.B) {
	for _, tt := range []struct{ ecosystem, a, b string }{
		{"Debian", "2.36-9+deb12u7", "2.36-9+deb12u10"},
		{"Red Hat", "1:3.0.7-27.el9", "1:3.0.7-28.el9_4"},
		{"Alpine", "3.1.4-r5", "3.1.4-r6"},
		{"npm", "4.17.20", "4.17.21"},
		{"PyPI", "2.31.0", "2.32.0"},
		{"Maven", "2.14.1", "2.15.0"},
		{"RubyGems", "7.0.4.1", "7.0.4.3"},
	} {
		b.Run(tt.ecosystem, func(b *testing.B) {
			v, err := Parse(tt.ecosystem, tt.a)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				w, err := Parse(tt.ecosystem, tt.b)
				if err != nil {
					b.Fatal(err)
				}
				if c, err := v.Compare(w); c != -1 || err != nil {
					b.Fatal(c, err)
				}
			}
		})
	}
}
