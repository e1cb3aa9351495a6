-- Admits at most so many requests of a client in any window of time, whichever instance is asked (contract §6).
-- KEYS: one key a request, its client's; a client may be there more than once. ARGV: 1 how many requests a window
-- admits; 2 how long it is (us). Gives how long each request has to wait (us), 0 where it is admitted.
--
-- A key is the list of the moments at which a client's last requests were admitted, at most as many as a window admits:
-- so the oldest one says when the next may be. Time is this Redis's own, whatever the instances' clocks say.

local most, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local waits = {}
for at = 1, #KEYS do
  local key = KEYS[at]
  local moment = now
  local wait = 0
  local newest = tonumber(redis.call('LINDEX', key, -1) or 0)
  if newest > now + window then
    -- The clock was set back, nobody knows by how much: one window from now the list is gone.
    wait = math.max(1000, math.min(redis.call('PTTL', key) * 1000, window))
    redis.call('PEXPIRE', key, math.ceil(wait / 1000))
  else
    moment = math.max(now, newest)
    local oldest = redis.call('LINDEX', key, -most)
    if oldest then
      wait = math.max(0, tonumber(oldest) + window - moment)
    end
    if wait == 0 then
      redis.call('RPUSH', key, string.format('%.0f', moment))
      redis.call('LTRIM', key, -most, -1)
      redis.call('PEXPIRE', key, math.ceil((moment + window - now) / 1000) + 1)
    end
  end
  waits[at] = string.format('%.0f', wait)
end
return table.concat(waits, ' ')
