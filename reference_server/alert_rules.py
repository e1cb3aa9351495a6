"""Prometheus alerting rules over the published gauges (contract §10), as text for a rule file."""

from __future__ import annotations

ALERT_RULES = """\
# Alerting rules for a HatchFarm server, printed by `hatchfarm serve --print-alert-rules`.
#
# Check them with `promtool check rules FILE`, and name the file under `rule_files:` in prometheus.yml.
# The two alert gauges hold their thresholds and windows already, as the server was set up: the rules repeat none of
# them, and wait no longer than the gauges did. Only the third rule waits, for a restart to pass.
groups:
  - name: hatchfarm
    rules:
      - alert: HatchFarmStaleWorkers
        expr: hatchfarm_alert_stale_workers == 1
        labels:
          severity: warning
        annotations:
          summary: Workers of {{ $labels.instance }} have fallen silent.
          description: >-
            {{ with printf "hatchfarm_workers_stale_total{instance=%q,job=%q}" $labels.instance $labels.job | query
            }}{{ . | first | value }}{{ else }}Some{{ end }} of
            {{ with printf "hatchfarm_workers_total{instance=%q,job=%q}" $labels.instance $labels.job | query
            }}{{ . | first | value }}{{ else }}its{{ end }}
            workers had no heartbeat accepted for longer than WORKER_STATUS_STALE_SECONDS.
          runbook: |
            Meaning: machines that were heard from before are silent, or all that they send is refused. The alert ends
            by itself when each of them is heard again, so a machine that left for good keeps it on.
            1. How many? hatchfarm_workers_stale_total / hatchfarm_workers_total. A few: their owners switched them off,
               ask them. Many at once: one cause, so go on.
            2. Which, and since when? GET /api/v1/workers/statuses with the owner token: "stale" and "age_seconds".
               Equal ages mean one moment: a network, a site, a rollout.
            3. Are they refused? increase(hatchfarm_worker_auth_failures_by_reason_total[5m]) gives the reason,
               increase(hatchfarm_rate_limited_total[5m]) says whether many machines share one address.
            4. If nothing is refused, nothing arrives: look at the network between the machines and the server.
            More: docs/prometheus.md, HatchFarmStaleWorkers.
      - alert: HatchFarmWorkerAuthFailures
        expr: hatchfarm_alert_worker_auth_failures == 1
        labels:
          severity: critical
        annotations:
          summary: Workers of {{ $labels.instance }} fail to prove who they are.
          description: >-
            {{ with printf "hatchfarm_worker_auth_failures_recent{instance=%q,job=%q}" $labels.instance $labels.job
            | query }}{{ . | first | value }}{{ else }}Too many{{ end }} failures within
            WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS, which reaches WORKER_AUTH_FAIL_ALERT_THRESHOLD. By reason, within the
            last five minutes and estimated:
            {{ range $index, $reason := printf
            "increase(hatchfarm_worker_auth_failures_by_reason_total{instance=%q,job=%q}[5m]) > 0"
            $labels.instance $labels.job | query | sortByLabel "reason"
            }}{{ if $index }}, {{ end }}{{ .Labels.reason }} {{ .Value | printf "%.0f" }}{{ else }}none{{ end }}.
          runbook: |
            Meaning: every one of these requests was refused, so nothing has come in; but either somebody attacks, or
            a part of the fleet is locked out. The alert ends by itself when the window has slid past the failures.
            1. Which reason leads? topk(3, increase(hatchfarm_worker_auth_failures_by_reason_total[5m]))
               nonce_replayed: captured heartbeats sent again, or a client that repeats without a fresh nonce.
               timestamp_out_of_window: a clock more than 90 s off; if all machines fail, the server's own.
               invalid_machine_token, invalid_heartbeat_signature: guessed, forged or mixed-up credentials.
               invalid_or_expired_machine_cert: not rotated within its 15 minutes, or rotated out and used again.
               missing_* and malformed_*: a broken client, or somebody trying what comes through.
            2. Do they name workers? increase(hatchfarm_worker_auth_failures_unattributed_total[5m]) counts those that
               name none: somebody guesses ids. For the others, GET /api/v1/audit/events?type=worker_auth_failed
               with the owner token and X-Owner-ID names the worker in each event.
            3. A worker whose secret may be known to others: revoke its consents, register the machine anew.
            More: docs/prometheus.md, HatchFarmWorkerAuthFailures.
      - alert: HatchFarmMetricsMissing
        # A target that was a HatchFarm server within a day and is down; or, when there is none, no server at all.
        expr: |
          (up == 0 and on (job, instance) present_over_time(hatchfarm_uptime_seconds[1d]))
          or on () absent(hatchfarm_uptime_seconds)
        for: 1m
        labels:
          severity: critical
        annotations:
          summary: The metrics of {{ with $labels.instance }}{{ . }}{{ else }}any HatchFarm server{{ end }} are missing.
          description: Prometheus has read none for a minute, so neither of the other alerts can fire.
          runbook: |
            Meaning: the server is down, or Prometheus cannot read its metrics. The others' silence proves nothing.
            1. Prometheus, Status, Targets: the target's last error. No target: the scrape configuration lost it.
            2. 401: the token in credentials_file is not the server's HATCHFARM_API_TOKEN. A server started without one
               makes a new one at each start. 429: Prometheus shares its address with others; scrape less often.
            3. Connection refused or timeout: GET /health from that machine; then the server's own standard error.
            More: docs/prometheus.md, HatchFarmMetricsMissing.
"""
"""The rule file. The gauges embed thresholds and windows, so the rules over them have no `for`.

A stale worker is a warning, because owners may switch their machines off. Auth failures are critical, because they are
an attack or a locked-out fleet. Missing metrics are critical, because without them the other two can never fire.
"""
