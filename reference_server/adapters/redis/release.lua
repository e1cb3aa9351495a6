-- Gives back nonces whose reservation had no answer, so that their heartbeats were refused and may come again.
-- KEYS: one key a nonce. ARGV: the id of the request that may have reserved it, in the same order.
for at = 1, #KEYS do
  if redis.call('GET', KEYS[at]) == ARGV[at] then
    redis.call('DEL', KEYS[at])
  end
end
return #KEYS
