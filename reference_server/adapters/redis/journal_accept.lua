-- Reserves the nonces of heartbeats and appends those that are accepted, unless a certificate was replaced or a consent
-- revoked since they were verified. `reserve` is `nonces.lua`. Asked again, it appends nothing again. In the same step
-- it gives the groups that the caller has not seen: it answers for what is in its own state.
-- KEYS: 3 the last that this instance had appended, 4 the canary, then one key a nonce.
-- ARGV: 5 the fencing token that they were verified by, 6 the number of this call, 7 bytes past which the journal
-- takes no more, 8 how long 3 is of use (s), 9 how many heartbeats, 10 until when the caller
-- waits (Unix us), then what `reserve` takes, then each one's change.
-- Gives: `ok`, what `reserve` gives and what `journal_read` does; or why not.
local number, count = tonumber(ARGV[6]), tonumber(ARGV[9])
local last = redis.call('GET', KEYS[3])
local again = last and tonumber(last) >= number
local status = journal_status()
if status ~= 'ok' then
  return {status}
end
if not again then
  if expired(ARGV[10]) then
    return {'expired'}
  end
  if held[5] ~= ARGV[5] then
    return {'behind'}
  end
  if tonumber(held[6]) > tonumber(ARGV[7]) then
    return {'full'}
  end
end
local before, first = 10, #ARGV - count
local keys, arguments = {}, {}
for at = 4, #KEYS do
  keys[at - 3] = KEYS[at]
end
for at = before + 1, first do
  arguments[at - before] = ARGV[at]
end
local landed = {}
for at = 2, #keys do
  if redis.call('GET', keys[at]) == '*' then
    -- In the journal already, by a call whose answer was lost: whoever sends it next has it accepted.
    redis.call('SET', keys[at], arguments[2 * at + 7], 'KEEPTTL')
    landed[at - 1] = true
  end
end
local answer = reserve(keys, arguments)
if again then
  return {'ok', answer, read_result('')}
end
local verdicts = string.match(answer, '(%d+)$')
local accepted = {}
for at = 1, count do
  if string.sub(verdicts, at, at) == '1' and not landed[at] then
    accepted[#accepted + 1] = ARGV[first + at]
  end
end
if #accepted > 0 then
  -- The head of a MessagePack array of up to 65,535.
  local head = string.char(0xdc, math.floor(#accepted / 256), #accepted % 256)
  append(head .. table.concat(accepted), '')
end
redis.call('SET', KEYS[3], ARGV[6], 'EX', ARGV[8])
return {'ok', answer, read_result('')}
