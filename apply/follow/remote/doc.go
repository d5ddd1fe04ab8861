// Package remote follows a trail on another machine: a [follow.Source] that reads streams of package journal/serve.
//
//	src, err := remote.Open(ctx, "https://primary.example/app", &remote.Options{Token: secret})
//	…
//	err = follow.Run(ctx, "replica.db", src, nil)
//
// [Pipe] is the same for a stream that comes from anywhere else: ssh, a file on a stick.
//
// # What is promised
//
// Nothing of a stream is used before it is there whole: a batch that is cut short, at whatever byte, is as if it had
// not come, and the next connection begins after the last transaction that was applied. What is used is checked as
// the files of a trail are, and then by following it: a transaction that does not lead to the state it names changes
// no byte of the replica. A server can hold transactions back, but it cannot make others out of them unless it knows
// what is in them: it could as well have written them.
//
// A connection on which nothing comes for three times as long as the server promised to stay silent at most, and a
// second, is given up: then the source is a [follow.ErrUnreachable], as it is when the server cannot be reached, is busy, or sends what
// was damaged on the way. A server that is behind what was asked for, since a load balancer chose it, or whose trail has
// no base yet, is a [follow.ErrNotReady]. [follow.Run] asks again after both. It does not after a refused token, another
// database, or a newer version of the stream: those need somebody.
package remote
