"""The Open Inference Protocol over gRPC, beside HTTP. Imported only where `serving.grpc` asks for it."""
