"""Rivals of the reference server and of the shard: what others would write, and load with, doing the same job.

How the comparison is made fair, and where it is unfair, it is so to our side:

- The rivals decide with this project's own decisions (`decisions.py`: token, certificate, HMAC, consent, nonce, audit
  chain), on a state made in the same way. So answers are the same, and what is compared is the rest: server, framework,
  routing, reading of headers and writing of answers. How much a decision of their own could win is bounded by the
  subject `ceiling`: Starlette on Uvicorn that decides nothing at all.
- They do less: no rate limit, no request id, no CORS, no guard of the framing, no bound on connections. The contract
  asks for all of it; an application of a framework seldom has it. That they answer alike is tested.
- They are written as their own pages say it is fastest, and run as in production: one process, uvloop and httptools
  where they use such, no access log, no middleware that nothing needs, a garbage collector as quiet as ours.
- Quart-Trio on Hypercorn is a plain application of its own, not this server without its express lane: that one has the
  guard, the deadlines and the admission that no other rival has, and is slower for it.

They are not installed with the project: `make rivals` adds them, pinned in `requirements-rivals.lock`.
"""
