"""Crawl policy: what is asked of whom, and when; one file a stage.

Data flows so: `frontier` says whom to ask, `sample` asks for infohashes, `seen` tells which are new, `locate`
and `lookups` who has them, `fetch` what they are; what was found leaves by `outlet`. `pace` spends the budget
on all of them, `bootstrap` and `explore` find nodes, `refresh` keeps the routing table. The other files are
what one of these thinks with.
"""
