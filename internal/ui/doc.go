// Package ui is how the command line looks: units, tables, colour and progress; and how it reads
// the times that people type.
//
// Its rules are few. A number is always shown with its unit, short enough to be taken in at a
// glance; exact numbers are for --json. Columns are aligned, numbers to the right, so that a large
// one is seen before it is read. Colour only ever repeats what the text says already, because a
// pipe, a log and a colour-blind reader get the text alone. Text that came out of a file (notes,
// names) is made harmless before it reaches a terminal: see [Clean].
//
// Nothing here knows what a trail is, looks at the clock, or reads the environment: callers hand
// all three in, so that every picture can be a test.
package ui
