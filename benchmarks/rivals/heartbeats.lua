-- What wrk sends: whole requests, written and signed before, in turn. Its argument is a file of them, each ended by a NUL.
local requests, at = {}, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  for request in file:read("*a"):gmatch("[^%z]+") do
    requests[#requests + 1] = request
  end
  file:close()
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary)
  local errors = summary.errors
  local failures = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('{"requests":%d,"failures":%d,"seconds":%f}\n',
    summary.requests, failures, summary.duration / 1e6))
end
