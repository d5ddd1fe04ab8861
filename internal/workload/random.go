package workload

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// source is the one source of randomness of a workload, and its clock: neither looks at the real
// time, so that a seed decides every byte.
type source struct {
	*rand.Rand
	now time.Time
}

func newSource(seed uint64) *source {
	return &source{
		Rand: rand.New(rand.NewPCG(seed, 0x7061676574726169)),
		now:  time.Date(2025, time.June, 1, 8, 0, 0, 0, time.UTC),
	}
}

// zipf draws ranks below n, rank 0 the most often, with exponent 1.1.
func (r *source) zipf(n int) *rand.Zipf {
	return rand.NewZipf(r.Rand, 1.1, 1, uint64(n-1))
}

// tick moves the clock by 1 to 50 ms and returns it.
func (r *source) tick() time.Time {
	r.now = r.now.Add(time.Duration(1+r.IntN(50)) * time.Millisecond)
	return r.now
}

func (r *source) uuid() uuid {
	var u uuid
	for i := 0; i < len(u); i += 8 {
		n := r.Uint64()
		for j := range 8 {
			u[i+j] = byte(n >> (8 * j))
		}
	}
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

type uuid [16]byte

func (u uuid) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// words is the vocabulary of all text: enough to look like prose to a compressor.
var words = strings.Fields(`account address after again agenda apple april archive arrange article
	ask august autumn balance banana basket before begin bicycle blanket book borrow bread breakfast
	bridge bring budget build button buy cable call camera cancel candle card carpet celebrate chair
	change charge check cheese clean clock close coffee collect compare confirm cook copy corner cost
	couple create curtain customer daily deadline decide deliver deposit desk dinner discuss doctor
	document door double draft driver early electric empty engine envelope evening example expense
	fabric family farmer feedback fence file finish flight floor flower follow forest forward friday
	friend garden gather glass grocery guest guitar hammer harbour holiday hospital hotel house image
	insurance invite invoice island january journal journey july keep kettle key kitchen ladder lamp
	laptop launch laundry learn lemon letter library light list lunch machine manual map market
	measure medicine meeting member message milk minute mirror monday money morning mountain museum
	music neighbour notebook november number october office onion online open orange order package
	paint paper parcel parent passport pencil phone photo picture pillow plan plumber pocket postcard
	prepare present printer project quarter question quiet rain receipt recipe remind repair reply
	report return review river room sandwich saturday schedule school season second send september
	service share shelf shirt shoes sign sketch soap spring station stone street sugar summer sunday
	supper switch table tailor teacher tenant ticket today tomato tomorrow towel train travel tuesday
	umbrella update vacation valley vegetable visit wallet water weather wednesday weekend window
	winter wood yellow yesterday`)

// prose returns n words.
func (r *source) prose(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(words[r.IntN(len(words))])
	}
	return b.String()
}

const timestamp = "2006-01-02T15:04:05.000Z"
