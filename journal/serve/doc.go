// Package serve sends trails to others: over HTTP to any number of followers, and over whatever is an io.Writer.
//
//	handler, err := serve.New(&serve.Options{Databases: map[string]string{"app": "app.db-pagetrail"}, Tokens: tokens})
//	…
//	http.Handle("/", handler)
//
// # The stream
//
// A stream is a head that says of which database it is, and then frames. What they carry is what an archive has as
// objects: batches, which are sealed segments, and the bases that records of kind Base need, or that a receiver begins
// with. So there is nothing in a stream that a trail does not have, CRCs, hashes and state checksums included, and
// whoever has part of one has whole transactions: a frame that is cut short counts for nothing. Frames without content
// say, every few seconds, how far the sender's trail is: silence is a fault, and not a database at rest.
// journal/FORMAT.md has the section.
//
// # Over HTTP
//
//	GET /               the databases that the token opens, JSON
//	GET /NAME           identity, range and last transaction, JSON
//	GET /NAME/stream    a stream: ?after=TXID goes on after that transaction; without it the stream begins with the
//	                    newest base; &to=TXID ends it after that transaction
//	GET /NAME/changes   which tables each transaction changes, as server-sent events, if Options.Changes knows;
//	                    Last-Event-ID, or ?after=TXID, goes on after what was told
//
// HTTP/1.1 and HTTP/2. Content is compressed already. Errors are JSON, see [Problem]; one that comes up later is the
// stream's last frame.
//
// # What a follower costs
//
// Sealed segments are sent as the files that they are. What is not sealed yet is made into batches once, by one
// goroutine for each database that somebody follows, and kept in memory for all: a hundred followers cost a hundred
// times the network, and not the reading. A follower that is slower than that falls back to files, and one that takes
// nothing for long is cut off; none is waited for.
//
// Changes are told by one walk through the transactions for all who listen to a database, and kept in memory for those
// who come back soon. Who asks for older ones has a walk of its own until there, one listener at a time.
package serve
