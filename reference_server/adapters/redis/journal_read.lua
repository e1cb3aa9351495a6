-- Gives the groups that the caller has not seen. `ok`, the last group, the last strict one, bytes since the snapshot
-- and bytes of it, an empty word, and the groups; or why not.
local status = standing()
if status ~= 'ok' then
  return {status}
end
return news('')
