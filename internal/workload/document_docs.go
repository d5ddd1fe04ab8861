package workload

import (
	"fmt"
	"strings"
	"time"
)

const shards = 4

var statuses = []string{"HELD", "PAID", "SENT", "USED", "LOST"}

func shard(i int) string          { return fmt.Sprintf("tickets-%d", i) }
func eventID(i uint64) string     { return fmt.Sprintf("ev-%05d", i) }
func customerID(i int) string     { return fmt.Sprintf("cu-%06d", i) }
func partOf(t ticket) (part int)  { return int(t.id[len(t.id)-1]) % shards }
func (d *Document) event() string { return eventID(d.events.Uint64()) }

func (d *Document) customer() string { return customerID(d.rnd.IntN(d.scale.Customers)) }

// newTicket draws a ticket that does not exist yet; its number never comes again.
func (d *Document) newTicket(prefix string) ticket {
	d.serial++
	id := fmt.Sprintf("%s-%08d-%08x", prefix, d.serial, d.rnd.Uint32())
	return ticket{event: d.event(), id: id, customer: d.customer()}
}

// ticketDoc is a document of about 1 KB in the attribute-type notation of such services. One in
// eighteen expires within the time of some thousand operations.
func (d *Document) ticketDoc(t ticket) string {
	now := d.rnd.tick()
	var b strings.Builder
	fmt.Fprintf(&b, `{"event_id":{"S":%q},"ticket_id":{"S":%q},"customer_id":{"S":%q}`, t.event, t.id, t.customer)
	fmt.Fprintf(&b, `,"bought_at":{"S":%q},"price":{"N":"%d.%02d"}`, now.Format(timestamp), 10+d.rnd.IntN(90), d.rnd.IntN(100))
	fmt.Fprintf(&b, `,"seat":{"M":{"block":{"S":"%c"},"row":{"N":"%d"},"number":{"N":"%d"}}}`,
		'A'+rune(d.rnd.IntN(20)), 1+d.rnd.IntN(40), 1+d.rnd.IntN(60))
	if d.rnd.IntN(18) == 0 {
		fmt.Fprintf(&b, `,"expires_at":{"N":"%d"}`, now.Add(time.Duration(10+d.rnd.IntN(50))*time.Second).Unix())
	}
	fmt.Fprintf(&b, `,"status":{"S":%q},"notes":{"L":[`, statuses[d.rnd.IntN(len(statuses))])
	for i := range 8 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"S":%q}`, d.rnd.prose(6+d.rnd.IntN(8)))
	}
	b.WriteString("]}}")
	return b.String()
}

func (d *Document) eventDoc(id string, sold int) string {
	return fmt.Sprintf(`{"event_id":{"S":%q},"venue":{"S":"venue-%02d"},"starts_at":{"S":%q},"sold":{"N":"%d"},"about":{"S":%q}}`,
		id, d.rnd.IntN(40), d.rnd.now.Add(30*24*time.Hour).Format(timestamp), sold, d.rnd.prose(80))
}

func (d *Document) customerDoc(id string) string {
	return fmt.Sprintf(`{"customer_id":{"S":%q},"name":{"S":%q},"address":{"S":%q},"about":{"S":%q}}`,
		id, d.rnd.prose(2), d.rnd.prose(6), d.rnd.prose(100))
}
