package term

import (
	"bufio"
	"io"
	"strings"
)

// Table gathers rows and writes them in aligned columns. Text is cleaned; a
// table that is wider than Width loses the ends of its widest columns first.
type Table struct {
	// Width in columns that the table should fit in; 0 for no limit.
	Width int
	// Colour applies the cells' styles.
	Colour  bool
	Columns []Column
	rows    [][]Cell
}

// Column is how one column looks.
type Column struct {
	Head string
	// Right aligned, for numbers.
	Right bool
	// Whole cells are never cut: a name that must be copied.
	Whole bool
	// End of a cell is kept when it is cut, not its beginning: a path.
	End bool
}

// Cell is one text of a row.
type Cell struct {
	Text  string
	Style Style
}

// Text is a plain cell.
func Text(s string) Cell { return Cell{Text: s} }

// NewTable fits w: its width, and its taste in colours.
func NewTable(w io.Writer, columns ...Column) *Table {
	return &Table{Width: Width(w), Colour: Colour(w), Columns: columns}
}

// Row adds a row, one cell for each column; missing ones are empty.
func (t *Table) Row(cells ...Cell) {
	row := make([]Cell, len(t.Columns))
	for i := range row {
		if i < len(cells) {
			row[i] = Cell{Clean(cells[i].Text), cells[i].Style}
		}
	}
	t.rows = append(t.rows, row)
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

const (
	gap = 2 // columns between two columns
	// narrowest that a column is cut to.
	narrowest = 8
)

// WriteTo writes the head, unless no column has one, and the rows.
func (t *Table) WriteTo(w io.Writer) (int64, error) {
	widths := t.widths()
	counted := &counter{w: w}
	out := bufio.NewWriter(counted)
	head := make([]Cell, len(t.Columns))
	named := false
	for i, c := range t.Columns {
		head[i] = Cell{Clean(c.Head), Bold}
		named = named || c.Head != ""
	}
	if named {
		t.line(out, head, widths)
	}
	for _, row := range t.rows {
		t.line(out, row, widths)
	}
	err := out.Flush()
	return counted.n, err
}

// widths are those of the columns once the table fits.
func (t *Table) widths() []int {
	widths := make([]int, len(t.Columns))
	total := gap * (len(t.Columns) - 1)
	for i, c := range t.Columns {
		widths[i] = Columns(Clean(c.Head))
		for _, row := range t.rows {
			widths[i] = max(widths[i], Columns(row[i].Text))
		}
		total += widths[i]
	}
	for t.Width > 0 && total > t.Width {
		// Cut the widest to the next widest, or as far as is needed.
		widest, next := -1, narrowest
		for i, c := range t.Columns {
			switch {
			case c.Whole || widths[i] <= narrowest:
			case widest < 0 || widths[i] > widths[widest]:
				if widest >= 0 {
					next = max(next, widths[widest])
				}
				widest = i
			default:
				next = max(next, widths[i])
			}
		}
		if widest < 0 {
			break // nothing is left to cut: the terminal wraps the lines
		}
		to := max(min(next, widths[widest]-1), widths[widest]-(total-t.Width), narrowest)
		total -= widths[widest] - to
		widths[widest] = to
	}
	return widths
}

func (t *Table) line(out *bufio.Writer, cells []Cell, widths []int) {
	spaces := 0 // that are due before the next text: none at a line's end
	for i, cell := range cells {
		text := cell.Text
		if t.Columns[i].End {
			text = CutStart(text, widths[i])
		} else {
			text = Cut(text, widths[i])
		}
		room := widths[i] - Columns(text)
		if t.Columns[i].Right {
			spaces += room
		}
		if text != "" {
			out.WriteString(strings.Repeat(" ", spaces))
			spaces = 0
			if t.Colour {
				text = cell.Style.Paint(text)
			}
			out.WriteString(text)
		}
		if !t.Columns[i].Right {
			spaces += room
		}
		spaces += gap
	}
	out.WriteByte('\n')
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
