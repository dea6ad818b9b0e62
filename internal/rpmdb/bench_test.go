package rpmdb

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkEach reads databases of real distributions from disk.
func BenchmarkEach(b *testing.B) {
	for _, database := range distributions(b) {
		f, err := os.Open(database)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(filepath.Base(database), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(info.Size())
			packages := 0
			for b.Loop() {
				packages = 0
				if err := Each(f, info.Size(), func(*Package) error {
					packages++
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(packages), "packages")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*packages), "µs/package")
		})
	}
}
