package azure

// SetOnePut makes blocks smaller.
func (s *Store) SetOnePut(n int64) { s.onePut = n }
