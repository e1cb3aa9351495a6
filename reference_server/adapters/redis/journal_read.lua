-- Gives the groups that the caller has not seen. `ok`, the last group, the fencing token, bytes since the snapshot
-- and bytes of it, an empty word, and the groups; or why not.
local status = journal_status()
if status ~= 'ok' then
  return {status}
end
return read_result('')
