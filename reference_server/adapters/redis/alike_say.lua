-- Say anew what instances must be set to alike, for so many milliseconds, unless another said it since it was looked.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
