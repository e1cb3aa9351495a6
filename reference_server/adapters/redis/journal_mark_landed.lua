-- Marks heartbeats whose acceptance had no answer, so that they were refused and may come again. One whose nonce was
-- reserved was appended in the same step: it is marked `*`, so that it is accepted when it comes, and not appended again.
-- KEYS: one key a nonce. ARGV: the id of the request that may have reserved it, in the same order.
for at = 1, #KEYS do
  if redis.call('GET', KEYS[at]) == ARGV[at] then
    redis.call('SET', KEYS[at], '*', 'KEEPTTL')
  end
end
return #KEYS
