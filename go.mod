module github.com/pagetrail/pagetrail

go 1.26.0
