-- Releases the lease, and appends what was changed under it, if anything was. Asked again, it does nothing again.
-- KEYS: 3 the lease, 4 the last that this instance had appended. ARGV: 5 the name of the lease, 6 the group, 7 whether it
-- raises the fencing token (1 or 0), 8 how long 4 is of use (s), 9 until when the caller waits (Unix us).
if redis.call('GET', KEYS[4]) == ARGV[5] then
  return read_result('')
end
local status = journal_status()
if status ~= 'ok' then
  return {status}
end
if expired(ARGV[9]) then
  return {'expired'}
end
if redis.call('GET', KEYS[3]) ~= ARGV[5] then
  return {'late'}
end
local own = ''
if ARGV[6] ~= '' then
  own = append(ARGV[6], ARGV[5])
  if ARGV[7] == '1' then
    redis.call('HSET', META, 'strict', own)
  end
end
redis.call('SET', KEYS[4], ARGV[5], 'EX', ARGV[8])
redis.call('DEL', KEYS[3])
return read_result(own)
