package main

import (
	"testing"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func TestEveryReasonHasAdvice(t *testing.T) {
	for number := range warmpoolv1.Reason_name {
		if advice[warmpoolv1.Reason(number)] == "" {
			t.Errorf("there is no advice for %s", warmpoolv1.Reason(number))
		}
	}
}

func TestEveryDeliveryIsExplained(t *testing.T) {
	for number, name := range warmpoolv1.Delivery_name {
		d := warmpoolv1.Delivery(number)
		if d != warmpoolv1.Delivery_DELIVERY_UNSPECIFIED && len(deliveryText(d)) <= len(name) {
			t.Errorf("%s is not explained: %q", d, deliveryText(d))
		}
	}
}
