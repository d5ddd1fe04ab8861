package objstore

// Prices of a store, in dollars.
type Prices struct {
	Storage float64 // of a GB (10⁹ bytes) for a month
	Put     float64 // of 1000 requests that write or list
	Get     float64 // of 1000 requests that read
	Out     float64 // of a GB that is read and leaves the provider's network
}

// AmazonPrices are the list prices of Amazon for S3 Standard in us-east-1. See https://aws.amazon.com/s3/pricing/.
var AmazonPrices = Prices{Storage: 0.023, Put: 0.005, Get: 0.0004, Out: 0.09}

// Cost is about what the calls so far cost in dollars, what they stored not included. Deleting is free; what was read is
// taken to have left the provider's network.
func (m *Meter) Cost(p Prices) float64 {
	calls, read := m.Counts()
	cost := float64(read) / 1e9 * p.Out
	for op, c := range calls {
		switch op {
		case OpPut, OpCreate, OpSwap, OpList:
			cost += float64(c.Requests) / 1000 * p.Put
		case OpGet, OpLoad:
			cost += float64(c.Requests) / 1000 * p.Get
		}
	}
	return cost
}
