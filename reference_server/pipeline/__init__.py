"""What carries an answer out: waiting for nonces, for the journal and for the state that instances share."""
