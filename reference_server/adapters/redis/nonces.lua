-- Reserves a batch of nonces, if Redis still holds all that it was given before (contract §4, replay horizon).
--
-- KEYS: the canary, then one key a nonce.
-- ARGV: 1 the name of an epoch, should one begin; 2 the epoch that the caller trusts, or * for any; 3 the epoch it saw
-- last; 4 and how many steps of it; 5 whether Redis now keeps every write through a restart (1 or 0); 6 the newest stamp
-- that a heartbeat may have had by now (us); 7 and 8 how long an epoch is closed and a nonce lives (s); 9 whether to
-- write while it is closed; 10 how far the caller's clock may be off the one of Redis (s); then two a nonce: the id of the
-- request, and the heartbeat's stamp (us).
-- Gives: epoch, steps, seconds until it opens, how far the caller's clock is off (s; 0 unless too far), and a verdict a nonce: 1 reserved, 2 replayed, 3 unavailable,
-- 4 stamped so early that its nonce may have been forgotten.
--
-- The canary is a hash. An epoch is a stretch of time in which Redis forgot nothing but what expired. `process` is the
-- Redis it was in, `steps` counts calls, so that a caller which saw more of them than there are knows that some were
-- lost. `origin` is the newest stamp that a nonce from before the epoch may have. `horizon` is the newest stamp of any
-- nonce that expired: what is stamped ahead of the clock of Redis expires that much later, so that it is never ahead. It
-- is put together from `@n`, the newest stamp in the n-th span of time, before the nonces of that
-- span expire.

local SPANS = 4
local canary = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1])
local closure, life = tonumber(ARGV[7]), tonumber(ARGV[8])
-- A caller that is far off would accept what others refuse, and would have all nonces kept for as long as it is off.
local off = tonumber(ARGV[6]) / 1000000 - closure / 2 - now
local wrong = math.abs(off) > tonumber(ARGV[10])

local process = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local held = redis.call('HMGET', canary,
  'epoch', 'process', 'durable', 'made', 'open', 'steps', 'origin', 'horizon', 'tidied')
local epoch, durable, made, open, origin, horizon = held[1], held[3], held[4], held[5], held[7], held[8]

local whole = epoch and (held[2] == process or (durable == '1' and ARGV[5] == '1'))
if whole and epoch == ARGV[3] and tonumber(held[6]) < tonumber(ARGV[4]) then
  whole = false
end
if not whole then
  redis.call('DEL', canary)
  epoch, made, open, origin, horizon = ARGV[1], time[1], '0', wrong and '0' or ARGV[6], '0'
  redis.call('HSET', canary, 'epoch', epoch, 'made', made, 'open', open, 'origin', origin, 'horizon', horizon)
end
if not whole or held[2] ~= process or durable ~= ARGV[5] then
  redis.call('HSET', canary, 'process', process, 'durable', ARGV[5])
end
local steps = redis.call('HINCRBY', canary, 'steps', 1)

local wait = 0
if tonumber(made) > now then
  made = time[1] -- the clock of Redis was set back
  redis.call('HSET', canary, 'made', made)
end
if open ~= '1' then
  -- Both are seconds that have begun, so that one more makes sure of the whole time.
  wait = math.max(0, tonumber(made) + closure + 1 - now)
  if wait == 0 then
    redis.call('HSET', canary, 'open', '1')
  end
end
if wait > 0 and not wrong then
  -- By this caller's clock, too, what was accepted before is over when the epoch opens.
  local before = tonumber(ARGV[6]) - (now - tonumber(made)) * 1000000
  if before > tonumber(origin) then
    origin = string.format('%d', before)
    redis.call('HSET', canary, 'origin', origin)
  end
end
local trusted = ARGV[2] == '*' or ARGV[2] == epoch
if trusted then
  wait = 0
end

local width = math.ceil(life / SPANS)
local kept = (SPANS + 1) * width -- no nonce expires before its span is put into the horizon
local span = math.floor(now / width)
local newest = redis.call('HGET', canary, '@' .. span)
if not whole or not newest or held[9] ~= tostring(span) then
  local fields = redis.call('HGETALL', canary)
  for at = 1, #fields, 2 do
    local ended = tonumber(string.match(fields[at], '^@(%d+)$'))
    if ended and ended + SPANS + 1 <= span then
      if tonumber(fields[at + 1]) > tonumber(horizon) then
        horizon = fields[at + 1]
      end
      redis.call('HDEL', canary, fields[at])
    end
  end
  newest = newest or '0'
  redis.call('HSET', canary, 'horizon', horizon, 'tidied', span)
end
if not trusted and wait == 0 and tonumber(origin) > tonumber(horizon) then
  horizon = origin
end

local newest_before = newest
local verdicts = {}
for at = 2, #KEYS do
  local request, stamp = ARGV[2 * at + 7], ARGV[2 * at + 8]
  local verdict = '1'
  local ahead = tonumber(stamp) / 1000000 - now - closure / 2
  if tonumber(stamp) <= tonumber(horizon) then
    verdict = '4'
  elseif (wait > 0 or wrong) and ARGV[9] ~= '1' then
    local holder = redis.call('GET', KEYS[at])
    if not holder then
      verdict = '3'
    elseif holder ~= request then
      verdict = '2'
    end
  elseif ahead > 0 then
    -- Kept until its stamp has left every window, and then put into the horizon with the span it would have been in.
    local later = math.ceil(ahead / width)
    if redis.call('SET', KEYS[at], request, 'NX', 'EX', kept + later * width) then
      local field = '@' .. (span + later)
      local reached = redis.call('HGET', canary, field)
      if not reached or tonumber(stamp) > tonumber(reached) then
        redis.call('HSET', canary, field, stamp)
      end
    elseif redis.call('GET', KEYS[at]) ~= request then
      verdict = '2'
    end
  elseif redis.call('SET', KEYS[at], request, 'NX', 'EX', kept) then
    if tonumber(stamp) > tonumber(newest) then
      newest = stamp
    end
  elseif redis.call('GET', KEYS[at]) ~= request then
    verdict = '2'
  end
  verdicts[at - 1] = verdict
end
if newest ~= newest_before then
  redis.call('HSET', canary, '@' .. span, newest)
end
return table.concat({epoch, steps, wait, wrong and string.format('%d', off) or 0, table.concat(verdicts)}, ' ')
