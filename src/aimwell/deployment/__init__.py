"""5 部署  Deployment: campaigns from pilot to rollout, the delivery ledger, contact policy, content, channels."""
